"""What comes before a memorised image is forgotten: each stage is made once and kept as files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from efface.diffusion.denoiser import Condition
from efface.errors import DataError, RequestError
from efface.evaluation.grids import save_grid
from efface.files import whole_file
from efface.requests.memorised.detection import Detected, detect
from efface.requests.memorised.embedding_descent import modify_embedding
from efface.requests.memorised.sampling import PromptSampler, seeds_for, to_unit
from efface.requests.memorised.searching import GIVEN, UNCHANGED, Prober, Tried
from efface.requests.memorised.separation import Separation, separate, sides
from efface.requests.memorised.settings import MemorisedSettings
from efface.requests.memorised.similarity import Comparison, CopyDetector
from efface.requests.memorised.token_edits import modify_words
from efface.requests.memorised.verdict import Detection

FOLDER = "preparation"
COLUMNS = 8
EMBEDDING = "an embedding that no prompt has"


class Stages:
    """`preparation/` of a run: a stage that is there is not made again.

    Every process makes the same; the one that `writes` keeps it. JSON comes last, so that a stage
    with JSON is whole.
    """

    def __init__(self, run: Path, writes: bool = True) -> None:
        self.folder = run / FOLDER
        self._writes = writes

    def read(self, name: str) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
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

    def write(
        self,
        name: str,
        content: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        sheets: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Keep a stage; `sheets` are images (N, C, H, W) uint8 by the name of their PNG."""
        if not self._writes:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for sheet, images in (sheets or {}).items():
            save_grid(to_unit(images), COLUMNS, self.folder / f"{sheet}.png")
        kept = {key: tensor.cpu().contiguous() for key, tensor in tensors.items()}
        save_file(kept, self.folder / f"{name}.safetensors")
        with whole_file(self.folder / f"{name}.json") as part:
            part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


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
class Preparer:
    """The stages of one request, in order."""

    stages: Stages
    sampler: PromptSampler
    settings: MemorisedSettings
    prompt: str
    comparison: Comparison

    def detect(self, controls: Sequence[str], image: Tensor | None) -> Detected:
        """Is an image memorised for the prompt, and which one is it?"""
        kept = self.stages.read("detection")
        if kept is not None:
            return _detected(*kept)
        encode = self.sampler.denoiser.encode
        detected = detect(
            self.sampler,
            encode([self.prompt]),
            encode(controls),
            image,
            self.comparison,
            self.settings,
        )
        tensors = {
            "reference": detected.reference,
            "samples": detected.samples,
            "controls": detected.controls,
        }
        reference = (detected.reference[None] * 255).round().byte()
        sheet = torch.cat([reference, detected.samples])
        self.stages.write("detection", asdict(detected.detection), tensors, {"detection": sheet})
        return detected

    def modify(self, detected: Detected, given: str | None) -> Modified:
        """A prompt that generates the image only sometimes: given, unchanged, or searched for.

        RequestError where the search finds none.
        """
        kept = self.stages.read("modification")
        if kept is None:
            prober = self._prober(detected)
            found = self._search(prober, detected.detection, given)
            tried = [tried.to_json() for tried in prober.tried]
            content = {"found": None if found is None else tried[-1], "tried": tried}
            tensors = {} if found is None else dict(found.tensors)
            self.stages.write("modification", content, tensors)
        else:
            content, tensors = kept
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

    def separate(self, detected: Detected, modified: Modified) -> tuple[Tensor, Separation]:
        """The synthetic set (N, C, H, W) uint8 of the modified prompt, and which are copies."""
        images = self._synthetic(modified)
        kept = self.stages.read("split")
        if kept is not None:
            content, tensors = kept
            arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
            return images, Separation(**arrays, agreement=content["agreement"])
        separation = separate(images, self.detector(detected), self.settings)
        forget, retain = sides(images, separation)
        content = {
            "by": self.settings.split,
            "copies": len(forget),
            "others": len(retain),
            "undecided": len(images) - len(forget) - len(retain),
            "agreement": separation.agreement,
        }
        tensors = {
            "copies": torch.from_numpy(separation.copies),
            "others": torch.from_numpy(separation.others),
            "similarity": torch.from_numpy(separation.similarity),
        }
        self.stages.write("split", content, tensors, {"copies": forget, "others": retain})
        return images, separation

    def _synthetic(self, modified: Modified) -> Tensor:
        kept = self.stages.read("synthetic")
        if kept is not None:
            return kept[1]["images"]
        seeds = seeds_for(self.settings.seed, "synthetic", self.settings.images)
        images = self.sampler.sample_one(modified.condition, seeds, "the synthetic set")
        self.stages.write("synthetic", {"prompt": modified.called}, {"images": images})
        return images

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


def read_stage(run: Path, name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
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
