"""What the models of a run are prompted with, and what counts as a copy."""

from __future__ import annotations

from dataclasses import dataclass

from efface.diffusion.denoiser import Condition
from efface.diffusion.text.denoiser import as_text_denoiser
from efface.evaluation.sample_sets import Subject
from efface.evaluation.store import digest_of_array
from efface.evaluation.terms import Terms, digest_of, shorten
from efface.requests.memorised.settings import MemorisedSettings
from efface.requests.memorised.similarity import CopyDetector
from efface.requests.memorised.stages import Modified
from efface.settings.base import Settings

ORIGINAL, MODIFIED = "", "_modified"  # prompts, by what the names of their figures end in
COPY, NOISES, CONTROLS = "copy", "noise draws", "control prompts"  # terms


@dataclass(frozen=True, eq=False, kw_only=True)
class MemorisedProtocol:
    """Both prompts, and control prompts for what else the model generates."""

    prompt: str
    modified: Modified
    controls: tuple[str, ...]
    held_out: bool  # whether no control prompt was trained on
    detector: CopyDetector
    settings: Settings

    def conditions(self, subject: Subject) -> dict[str, Condition]:
        """One row per prompt; a prompt that needed no change is there once."""
        denoiser = as_text_denoiser(subject.denoiser)
        original = {ORIGINAL: denoiser.encode([self.prompt])}
        if self.modified.is_original:
            return original
        return original | {MODIFIED: self.modified.condition.to(denoiser.device)}

    @property
    def seeds(self) -> range:
        return self._seeds(self.settings.of(MemorisedSettings).samples)

    @property
    def noises(self) -> range:
        return self._seeds(self.settings.of(MemorisedSettings).noises)

    def _seeds(self, count: int) -> range:
        first = self.settings.evaluate.seed
        return range(first, first + count)

    def terms(self) -> Terms:
        """What two evaluations share if their figures may be compared."""
        modified = sorted(self.modified.condition.tensors.items())
        detector = self.detector
        return {
            "prompt": digest_of(self.prompt),
            "modified prompt": digest_of([digest_of_array(t.numpy()) for _, t in modified]),
            CONTROLS: digest_of(self.controls),
            COPY: f"{detector.comparison.name}, {detector.threshold:.6g}",
            "memorised image": shorten(digest_of_array(detector.reference.numpy())),
            NOISES: str(len(self.noises)),
        }
