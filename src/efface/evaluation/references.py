"""What samples are compared with: real images, or else other samples of the original model.

Also at which guidance the original model is at its best, by the distance to real images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from efface.data.batch import in_turn
from efface.data.images import ImageSet
from efface.diffusion.denoiser import ClassDenoiser
from efface.diffusion.sampling import MultiStep
from efface.evaluation.networks import are_small, extractor_view, load_vision, pixels_of
from efface.evaluation.sample_sets import SampleSet, Subject, draw_kept, observe
from efface.evaluation.store import Store
from efface.evaluation.subjects import Subjects, number_labels
from efface.evaluation.views import ExtractorView, View
from efface.metrics.extractors import Extractor
from efface.metrics.fd import frechet_distance
from efface.metrics.pixel_components import fit_components
from efface.settings.evaluate import EvaluateSettings

SEED = 5_000_000  # away from the seeds of training, evaluation, change and attacks
SELECTION_SEED = 7_500_000  # nor are these evaluated on
SELECTION_SAMPLES = 200  # of each guidance
GUIDANCES = (1.0, 1.15, 1.3, 1.5)


@dataclass(frozen=True, kw_only=True)
class Retained:
    """Samples of what is retained: their labels or prompts in turn, None without conditions."""

    asked: Sequence[Any] | None
    count: int

    def samples(self, subject: Subject, first: int, count: int, batch_size: int) -> SampleSet:
        asked = None if self.asked is None else in_turn(self.asked, count)
        seeds = range(first, first + count)
        return SampleSet(subject=subject, seeds=seeds, asked=asked, batch_size=batch_size)

    def labels(self, count: int) -> np.ndarray | None:
        """(count,) labels of such samples; None where they have none."""
        if not self.asked or not isinstance(self.asked[0], int):
            return None
        return np.array(in_turn(self.asked, count))


def settle(
    subjects: Subjects,
    views: dict[str, View],
    retained: Retained,
    config: EvaluateSettings,
    store: Store,
    *,
    guided: bool,
    recorded: float | None = None,
) -> tuple[Subjects, dict[str, View]]:
    """The original model at its best guidance, where none is set, and something to compare with.

    `guided` says whether guidance is the request's to choose. Where the real images that it was
    chosen by are not here, it is the `recorded` one, and nothing stands for them.
    """
    view = views.get("extractor")
    if isinstance(view, ExtractorView) and view.labels is not None:
        labels = number_labels(subjects.info, view.labels)
        views = {**views, "extractor": replace(view, labels=labels)}
    if guided and config.guidance is None:
        best = recorded or best_guidance(subjects, views, retained, config, store)
        subjects = subjects.at_guidance(best)
    if recorded is None:
        views = with_own_reference(views, subjects, retained, config, store)
    return subjects, views


def with_own_reference(
    views: dict[str, View],
    subjects: Subjects,
    retained: Retained,
    config: EvaluateSettings,
    store: Store,
) -> dict[str, View]:
    """`views` with one that compares with samples of the original model, without real images.

    Seen by `evaluate.extractor` or, up to 32 x 32 pixels, by principal components of pixels; of
    larger samples and no extractor there is none.
    """
    small = are_small(pixels_of(subjects.info))
    if "extractor" in views or (config.extractor is None and not small):
        return views
    samples = retained.samples(subjects.original, SEED, retained.count, config.batch_size)
    network = None if config.extractor is None else load_vision(config)
    view = _view_of(network, samples, store)
    labels = retained.labels(retained.count)
    return {**views, "extractor": replace(view, labels=labels, of_original=True)}


def _view_of(network: Extractor | None, samples: SampleSet, store: Store) -> ExtractorView:
    what = "sampling the original model to compare with"
    if network is None:
        images = (draw_kept(samples, store, what) * 255).round().byte()
        real = ImageSet(images=images, labels=None, names=())
        return extractor_view(fit_components(images), real, store)
    nothing = np.zeros((0, 0))
    view = ExtractorView(network=network, real=nothing, real_spatial=nothing, labels=None)
    seen = observe(samples, {"view": view}, store, what)["view"]
    return replace(view, real=seen["features"], real_spatial=seen["spatial"])


def best_guidance(
    subjects: Subjects,
    views: dict[str, View],
    retained: Retained,
    config: EvaluateSettings,
    store: Store,
) -> float:
    """That of GUIDANCES whose samples are nearest to real images, as no label tells them.

    By the Frechet distance of the label-free view, on seeds of its own. 1 for a model that has no
    null label, and without real images.
    """
    view = views.get("extractor")
    denoiser = subjects.original.denoiser
    guided = isinstance(denoiser, ClassDenoiser) and denoiser.null_label is not None
    if not isinstance(view, ExtractorView) or not guided or not retained.asked:
        return 1.0
    labels = retained.labels(SELECTION_SAMPLES)
    real = view.real if view.labels is None else view.real[np.isin(view.labels, retained.asked)]

    def distance(guidance: float) -> float:
        sampler = MultiStep.within(denoiser, config.baseline_steps, guidance)
        original = replace(subjects.original, sampler=sampler)
        samples = retained.samples(original, SELECTION_SEED, SELECTION_SAMPLES, config.batch_size)
        what = f"trying guidance {guidance:g}"
        drawn = observe(samples, {"view": view}, store, what)["view"]["features"]
        return frechet_distance(drawn, real, labels).value

    return min(GUIDANCES, key=distance)
