"""What comes before a memorised picture is forgotten: each stage made once and kept as files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from efface.diffusion.denoiser import Condition
from efface.errors import DataError, RequestError
from efface.evaluation.grids import save_grid
from efface.files import whole_file
from efface.metrics.copy_similarity import Features
from efface.requests.memorised.detection import Detected, detect
from efface.requests.memorised.embedding_descent import Descent, loosen_embedding
from efface.requests.memorised.sampling import Drawing, seeds_for, to_unit
from efface.requests.memorised.searching import Band, Found, Prober, Tried
from efface.requests.memorised.separation import Separation, separate, sides
from efface.requests.memorised.settings import MemorisedConfig
from efface.requests.memorised.similarity import CopyDetector
from efface.requests.memorised.token_edits import loosen_words
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
        """What a stage came to; None where it is not there. DataError for what is not ours."""
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
    """The prompt that draws the picture sometimes, as text where it has any, and its condition."""

    tried: Tried
    condition: Condition  # one row
    count: int  # prompts that were tried

    @property
    def called(self) -> str:
        return EMBEDDING if self.tried.text is None else self.tried.text


@dataclass(frozen=True, eq=False, kw_only=True)
class Preparer:
    """The stages of one request, in order."""

    stages: Stages
    drawing: Drawing
    config: MemorisedConfig
    prompt: str
    features: tuple[Features, str]

    def detect(self, controls: list[str], picture: Tensor | None) -> Detected:
        """Is the prompt's picture memorised, and which picture is it?"""
        kept = self.stages.read("detection")
        if kept is not None:
            return _detected(*kept)
        encode = self.drawing.denoiser.encode
        found = detect(
            self.drawing,
            encode([self.prompt]),
            encode(controls),
            picture,
            self.features,
            self.config,
        )
        drawn = {
            "reference": found.reference,
            "pictures": found.pictures,
            "controls": found.controls,
        }
        reference = (found.reference[None] * 255).round().byte()
        self.stages.write(
            "detection",
            found.detection.to_json(),
            {name: tensor for name, tensor in drawn.items() if tensor is not None},
            {"detection": torch.cat([reference, found.pictures])},
        )
        return found

    def modify(self, detected: Detected, given: str | None) -> Modified:
        """A prompt that draws the picture sometimes: given, as it is, or searched for.

        RequestError where the search finds none.
        """
        kept = self.stages.read("modification")
        if kept is None:
            prober = self._prober(detected)
            found = self._search(prober, detected.detection, given)
            tensors = dict(found.condition.tensors) if found else {}
            content = {
                "found": found.tried.to_json() if found else None,
                "tried": [tried.to_json() for tried in prober.tried],
            }
            self.stages.write("modification", content, tensors)
        else:
            content, tensors = kept
        if content["found"] is None:
            shares = sorted({tried["share"] for tried in content["tried"]})
            raise RequestError(
                f"none of {len(content['tried'])} changed prompts draws the picture sometimes and "
                f"others at other times (shares of copies: "
                f"{', '.join(f'{share:.2g}' for share in shares)}): give one with "
                "--modified-prompt, or raise memorised.tries or memorised.edits (with --overwrite)."
            )
        return Modified(
            tried=Tried.from_json(content["found"]),
            condition=Condition(tensors).to(self.drawing.denoiser.device),
            count=len(content["tried"]),
        )

    def _prober(self, detected: Detected) -> Prober:
        config = self.config
        return Prober(
            drawing=self.drawing,
            detector=self.detector(detected),
            band=Band(low=config.least_share, high=config.most_share),
            seeds=seeds_for(config.seed, "search", config.search_images),
            norm_seeds=seeds_for(config.seed, "norms", config.noises),
            left=1,
        )

    def _search(self, prober: Prober, detection: Detection, given: str | None) -> Found | None:
        config, denoiser = self.config, self.drawing.denoiser
        text = self.prompt if given is None else given
        start = denoiser.encode([text])
        first = prober(start, "as it is" if given is None else "given", text=text)
        if given is not None or prober.band.holds(first):
            return Found(tried=first, condition=start)
        target = config.target_norm
        descent = Descent(
            steps=config.descent_steps,
            rate=config.descent_rate,
            target=detection.control_norm if target is None else target,
        )
        for way in config.search:
            prober.left = config.tries
            if way == "tokens":
                found = loosen_words(prober, denoiser, self.prompt, config.edits, config.words)
            else:
                found = loosen_embedding(prober, start, descent)
            if found is not None:
                return found
        return None

    def separate(self, detected: Detected, modified: Modified) -> tuple[Tensor, Separation]:
        """The synthetic set (N, C, H, W) uint8 under the modified prompt, and which are copies."""
        images = self._synthetic(modified)
        kept = self.stages.read("split")
        if kept is not None:
            content, tensors = kept
            separation = Separation(
                memorised=tensors["memorised"].numpy(),
                staying=tensors["staying"].numpy(),
                similarity=tensors["similarity"].numpy(),
                agreement=content["agreement"],
            )
            return images, separation
        config = self.config
        separation = separate(
            images,
            self.detector(detected),
            config.split,
            config.undecided,
            config.least_rows,
            config.seed,
        )
        forget, retain = sides(images, separation)
        content = {
            "by": config.split,
            "copies": len(forget),
            "others": len(retain),
            "undecided": len(images) - len(forget) - len(retain),
            "agreement": separation.agreement,
        }
        tensors = {
            "memorised": torch.from_numpy(np.asarray(separation.memorised)),
            "staying": torch.from_numpy(separation.staying),
            "similarity": torch.from_numpy(separation.similarity),
        }
        self.stages.write("split", content, tensors, {"copies": forget, "others": retain})
        return images, separation

    def _synthetic(self, modified: Modified) -> Tensor:
        kept = self.stages.read("synthetic")
        if kept is not None:
            return kept[1]["images"]
        seeds = seeds_for(self.config.seed, "synthetic", self.config.images)
        images = self.drawing.of(modified.condition, seeds, "the synthetic set")
        self.stages.write("synthetic", {"prompt": modified.called}, {"images": images})
        return images

    def detector(self, detected: Detected) -> CopyDetector:
        return CopyDetector(
            reference=detected.reference,
            threshold=detected.detection.threshold,
            features=self.features[0],
        )


def read_prepared(run: Path) -> tuple[Detected, Modified]:
    """What a finished run found before it was trained; DataError where that is missing."""
    stages = Stages(run)
    detection, modification = stages.read("detection"), stages.read("modification")
    if detection is None or modification is None or modification[0]["found"] is None:
        raise DataError(
            f"{stages.folder} does not hold what this run was prepared with: restore it, or run "
            "again."
        )
    content, tensors = modification
    modified = Modified(
        tried=Tried.from_json(content["found"]),
        condition=Condition(tensors),
        count=len(content["tried"]),
    )
    return _detected(*detection), modified


def _detected(content: dict[str, Any], tensors: dict[str, Tensor]) -> Detected:
    return Detected(
        detection=Detection.from_json(content),
        reference=tensors["reference"],
        pictures=tensors["pictures"],
        controls=tensors.get("controls"),
    )
