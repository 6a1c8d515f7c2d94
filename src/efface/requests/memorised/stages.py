"""What comes before a memorised image is forgotten: each stage is made once and kept as files."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from efface.errors import DataError
from efface.evaluation.grids import save_grid
from efface.files import write_whole
from efface.requests.memorised.detection import Detection
from efface.requests.memorised.sampling import to_unit
from efface.requests.memorised.searching import Modification

FOLDER = "preparation"
COLUMNS = 8

S = TypeVar("S")


def preparation_numbers(captions: int) -> Sequence[int | None]:
    """The number of each caption's preparation, the earliest first; None of a single one."""
    return [None] if captions == 1 else range(1, captions + 1)


def _folder(run: Path, number: int | None) -> Path:
    return run / FOLDER if number is None else run / FOLDER / str(number)


class Stages:
    """`preparation/` of a run: a stage that is there is not made again.

    Every process makes the same; the one that `writes` keeps it. An outcome is a dataclass, which
    its files are named after: its tensors are kept as safetensors, all else as JSON. JSON comes
    last, so that a stage with JSON is whole. Of several captions each has a subfolder, its number.
    """

    def __init__(self, run: Path, writes: bool = True, number: int | None = None) -> None:
        self.folder = _folder(run, number)
        self._writes = writes

    def read(self, kind: type[S]) -> S | None:
        """A stage's outcome; None where it is not there. DataError for what is not of this kind."""
        path = self.folder / f"{kind.__name__.lower()}.json"
        if not path.exists():
            return None
        tensors = path.with_suffix(".safetensors")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            content = {**content, **(load_file(tensors) if tensors.exists() else {})}
            return TypeAdapter(kind).validate_python(content)
        except (OSError, TypeError, ValueError, SafetensorError) as error:
            raise DataError(
                f"{path} is not what efface writes: run again with --overwrite."
            ) from error

    def once(
        self,
        kind: type[S],
        make: Callable[[], S],
        sheets: Callable[[S], Mapping[str, Tensor]] | None = None,
    ) -> S:
        """A stage as it was kept; where it is not there it is made, and kept.

        `sheets` are images (N, C, H, W) uint8 to look at, by name.
        """
        kept = self.read(kind)
        if kept is not None:
            return kept
        made = make()
        if self._writes:
            self.folder.mkdir(parents=True, exist_ok=True)
            for sheet, images in ({} if sheets is None else sheets(made)).items():
                save_grid(to_unit(images), COLUMNS, self.folder / f"{sheet}.png")
            for file, content in as_files(made).items():
                write_whole(self.folder / file, content, "preparation")
        return made


def as_files(outcome: Any) -> dict[str, bytes]:
    """A stage's files by name, in the order in which they are written."""
    name = type(outcome).__name__.lower()
    tensors = {
        field: value.cpu().contiguous()
        for field, value in vars(outcome).items()
        if isinstance(value, Tensor)
    }
    others = {field: value for field, value in vars(outcome).items() if field not in tensors}
    files = {f"{name}.safetensors": save(tensors)} if tensors else {}
    return files | {f"{name}.json": f"{json.dumps(others, indent=2, default=vars)}\n".encode()}


def read_prepared(run: Path, number: int | None = None) -> tuple[Detection, Modification]:
    """What a finished run was prepared with; DataError where that is missing, or not of a run.

    Anybody may have written it: the image is (C, H, W) in [0, 1], and a prompt was found.
    """
    stages = Stages(run, number=number)
    detection, modification = stages.read(Detection), stages.read(Modification)
    if detection is None or modification is None:
        raise DataError(
            f"{stages.folder} does not hold what this run was prepared with: restore it, or run "
            "again."
        )
    image = detection.reference
    if image.ndim != 3 or not bool(((image >= 0) & (image <= 1)).all()):
        raise DataError(f"{stages.folder} holds no image of the right kind: run again.")
    if not modification.tried:
        raise DataError(f"{stages.folder} holds no modified prompt: run again.")
    return detection, modification


def pack_preparation(run: Path, captions: int = 1) -> dict[str, bytes]:
    """What an evidence pack holds of a finished run, by file name: enough for `read_prepared`.

    Samples of the prompt and of control prompts, and prompts that were tried and not taken, are
    left out. DataError where `preparation/` of the run is not whole.
    """
    packed: dict[str, bytes] = {}
    for number in preparation_numbers(captions):
        detection, modification = read_prepared(run, number)
        nothing = detection.prompt_images[:0]
        files = as_files(replace(detection, prompt_images=nothing, control_images=nothing))
        files |= as_files(Modification(tried=(modification.prompt,)))
        folder = _folder(run, number).relative_to(run).as_posix()
        packed |= {f"{folder}/{name}": content for name, content in files.items()}
    return packed
