"""What comes before a memorised image is forgotten: each stage is made once and kept as files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save, save_file
from torch import Tensor

from efface.diffusion.denoiser import Condition
from efface.errors import DataError, RequestError
from efface.evaluation.grids import save_grid
from efface.files import whole_file
from efface.requests.memorised.detection import Detected, detect
from efface.requests.memorised.embedding_descent import modify_embedding
from efface.requests.memorised.sampling import PromptSampler, seeds_for, to_unit
from efface.requests.memorised.searching import GIVEN, UNCHANGED, Prober, Tried
from efface.requests.memorised.separation import separate
from efface.requests.memorised.settings import MemorisedSettings
from efface.requests.memorised.similarity import Comparison, CopyDetector
from efface.requests.memorised.token_edits import modify_words
from efface.requests.memorised.verdict import Detection

FOLDER = "preparation"
COLUMNS = 8
EMBEDDING = "an embedding that no prompt has"

Stage = tuple[dict[str, Any], dict[str, Tensor]]  # content and tensors
Made = tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]  # and sheets, uint8, by name


class Stages:
    """`preparation/` of a run: a stage that is there is not made again.

    Every process makes the same; the one that `writes` keeps it. JSON comes last, so that a stage
    with JSON is whole.
    """

    def __init__(self, run: Path, writes: bool = True) -> None:
        self.folder = run / FOLDER
        self._writes = writes

    def read(self, name: str) -> Stage | None:
        """A stage's content and tensors; None where it is not there. DataError if unreadable."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            tensors = load_file(path.with_suffix(".safetensors"))
            if not isinstance(content, dict):
                raise ValueError(name)
        except (OSError, ValueError, SafetensorError) as error:
            raise DataError(
                f"{path} is not what efface writes: run again with --overwrite."
            ) from error
        return content, tensors

    def once(self, name: str, make: Callable[[], Made]) -> Stage:
        """A stage as it was kept; where it is not there it is made, and kept."""
        kept = self.read(name)
        if kept is not None:
            return kept
        content, tensors, sheets = make()
        if self._writes:
            self._write(name, content, tensors, sheets)
        return content, tensors

    def _write(
        self,
        name: str,
        content: dict[str, Any],
        tensors: dict[str, Tensor],
        sheets: dict[str, Tensor],
    ) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for sheet, images in sheets.items():
            save_grid(to_unit(images), COLUMNS, self.folder / f"{sheet}.png")
        kept = {key: tensor.cpu().contiguous() for key, tensor in tensors.items()}
        save_file(kept, self.folder / f"{name}.safetensors")
        with whole_file(self.folder / f"{name}.json") as part:
            part.write_text(_dump(content), encoding="utf-8")


def _dump(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"


@dataclass(frozen=True, eq=False, kw_only=True)
class Modified:
    """The prompt that generates the image only sometimes, and its condition."""

    tried: Tried
    condition: Condition  # one row
    count: int  # prompts that were tried

    @property
    def called(self) -> str:
        return EMBEDDING if self.tried.text is None else self.tried.text

    @property
    def is_original(self) -> bool:
        """Whether the prompt needed no change."""
        return self.tried.way == UNCHANGED


@dataclass(frozen=True, eq=False, kw_only=True)
class Sides:
    """Images (N, C, H, W) uint8 to learn from."""

    forget: Tensor
    retain: Tensor
    undecided: int  # images that are on neither side
    agreement: float  # of k-means with the threshold of similarity


@dataclass(frozen=True, eq=False, kw_only=True)
class Preparer:
    """The stages of one request, in order."""

    stages: Stages
    sampler: PromptSampler
    settings: MemorisedSettings
    prompt: str
    comparison: Comparison

    def detect(self, controls: Sequence[str], image: Tensor | None) -> Detected:
        """Is an image memorised for the prompt, and which one is it?"""

        def make() -> Made:
            encode = self.sampler.denoiser.encode
            prompt, others = encode([self.prompt]), encode(controls)
            found = detect(self.sampler, prompt, others, image, self.comparison, self.settings)
            tensors = {name: getattr(found, name) for name in ("reference", "samples", "controls")}
            reference = (found.reference[None] * 255).round().byte()
            sheet = torch.cat([reference, found.samples])
            return asdict(found.detection), tensors, {"detection": sheet}

        return _detected(*self.stages.once("detection", make))

    def modify(self, detected: Detected, given: str | None) -> Modified:
        """A prompt that generates the image only sometimes: given, unchanged, or searched for.

        RequestError where the search finds none.
        """

        def make() -> Made:
            prober = self._prober(detected)
            found = self._search(prober, detected.detection, given)
            tried = [tried.to_json() for tried in prober.tried]
            content = {"found": None if found is None else tried[-1], "tried": tried}
            return content, {} if found is None else dict(found.tensors), {}

        content, tensors = self.stages.once("modification", make)
        if content["found"] is None:
            shares = sorted({tried["share"] for tried in content["tried"]})
            raise RequestError(
                f"none of {len(content['tried'])} modified prompts generates the memorised image "
                f"only sometimes (shares of copies: "
                f"{', '.join(f'{share:.2g}' for share in shares)}): give one with "
                "--modified-prompt, or raise memorised.tries (with --overwrite)."
            )
        return _modified(content, tensors, self.sampler.denoiser.device)

    def _prober(self, detected: Detected) -> Prober:
        settings = self.settings
        low, high = settings.copy_band
        return Prober(
            sampler=self.sampler,
            detector=self.detector(detected),
            low=low,
            high=high,
            seeds=seeds_for(settings.seed, "search", settings.samples),
            norm_seeds=seeds_for(settings.seed, "norms", settings.noises),
            left=1,
        )

    def _search(self, prober: Prober, detection: Detection, given: str | None) -> Condition | None:
        denoiser = self.sampler.denoiser
        text = self.prompt if given is None else given
        start = denoiser.encode([text])
        first = prober(start, UNCHANGED if given is None else GIVEN, text=text)
        if given is not None or prober.holds(first):
            return start
        for way in self.settings.search:
            prober.left = self.settings.tries
            if way == "tokens":
                found = modify_words(prober, denoiser, self.prompt)
            else:
                found = modify_embedding(prober, start, detection.control_norm)
            if found is not None:
                return found
        return None

    def separate(self, detected: Detected, modified: Modified) -> Sides:
        """Samples of the modified prompt: copies, and others to retain."""

        def sample() -> Made:
            seeds = seeds_for(self.settings.seed, "synthetic", self.settings.images)
            images = self.sampler.sample_one(modified.condition, seeds, "the synthetic set")
            return {"prompt": modified.called}, {"images": images}, {}

        def split() -> Made:
            found = separate(images, self.detector(detected), self.settings)
            forget, retain = images[found.copies], images[found.others]
            content = {
                "by": self.settings.split,
                "copies": len(forget),
                "others": len(retain),
                "undecided": len(images) - len(forget) - len(retain),
                "agreement": found.agreement,
            }
            tensors = {name: getattr(found, name) for name in ("copies", "others", "similarity")}
            return content, tensors, {"copies": forget, "others": retain}

        images = self.stages.once("synthetic", sample)[1]["images"]
        content, rows = self.stages.once("split", split)
        return Sides(
            forget=images[rows["copies"]],
            retain=images[rows["others"]],
            undecided=content["undecided"],
            agreement=content["agreement"],
        )

    def detector(self, detected: Detected) -> CopyDetector:
        return detector_of(detected, self.comparison)


def detector_of(detected: Detected, comparison: Comparison) -> CopyDetector:
    """What distinguishes copies; RequestError for another comparison than the threshold is for."""
    compared_by = detected.detection.compared_by
    if not comparison.matches(compared_by):
        raise RequestError(
            f"the threshold of a copy was set for {compared_by} in preparation, and "
            f"memorised.extractor gives {comparison.name}: leave it as it was, or run again."
        )
    return CopyDetector(
        reference=detected.reference,
        threshold=detected.detection.threshold,
        comparison=comparison,
    )


def read_stage(run: Path, name: str) -> Stage:
    """A stage of a finished run; DataError where it is missing."""
    stages = Stages(run)
    found = stages.read(name)
    if found is None:
        raise DataError(
            f"{stages.folder} does not hold what this run was prepared with: restore it, or run "
            "again."
        )
    return found


def read_prepared(run: Path) -> tuple[Detected, Modified]:
    """What a finished run was prepared with; DataError where that is missing, or not of a run.

    Anybody may have written it: the image is (C, H, W) in [0, 1], and the condition of the modified
    prompt has one finite row.
    """
    try:
        detected = _detected(*read_stage(run, "detection"))
        modified = _modified(*read_stage(run, "modification"), torch.device("cpu"))
    except (TypeError, LookupError, AttributeError) as error:
        raise DataError(f"{run / FOLDER} is not what efface writes: run again.") from error
    image, rows = detected.reference, list(modified.condition.tensors.values())
    if image.ndim != 3 or not bool(((image >= 0) & (image <= 1)).all()):
        raise DataError(f"{run / FOLDER} holds no image of the right kind: run again.")
    if not rows or any(len(row) != 1 or not row.isfinite().all() for row in rows):
        raise DataError(f"{run / FOLDER} holds no prompt of one finite row: run again.")
    return detected, modified


def pack_preparation(run: Path) -> dict[str, bytes]:
    """What an evidence pack holds of a finished run, by file name: enough for `read_prepared`.

    Samples of the prompt and of control prompts, and prompts that were tried and not taken, are
    left out. DataError where `preparation/` of the run is not whole.
    """
    detection, detected = read_stage(run, "detection")
    modification, modified = read_stage(run, "modification")
    modification |= {"tried": [None] * len(modification["tried"])}
    kept = {name: t if name == "reference" else t[:0] for name, t in detected.items()}
    stages = {"detection": (detection, kept), "modification": (modification, modified)}
    return {
        f"{FOLDER}/{name}.{suffix}": data
        for name, (content, tensors) in stages.items()
        for suffix, data in (
            ("json", _dump(content).encode()),
            ("safetensors", save({n: t.contiguous() for n, t in tensors.items()})),
        )
    }


def _detected(content: dict[str, Any], tensors: dict[str, Tensor]) -> Detected:
    return Detected(detection=Detection(**content), **tensors)


def _modified(
    content: dict[str, Any], tensors: dict[str, Tensor], device: torch.device
) -> Modified:
    return Modified(
        tried=Tried.from_json(content["found"]),
        condition=Condition(tensors).to(device),
        count=len(content["tried"]),
    )
