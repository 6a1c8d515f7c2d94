"""The loop: every model draws the same samples, once, for all who look at them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from efface.evaluation.protocol import (
    PROBES,
    Looked,
    Protocol,
    Samples,
    Seen,
    evaluate,
    make_result,
    observe_all,
    of_models,
)
from efface.evaluation.sample_sets import PixelObserver, SampleSet, Subject, draw_kept
from efface.evaluation.store import Store
from efface.evaluation.subjects import Job, Subjects
from efface.metrics.intervals import mean
from efface.records import Evaluation, Spec
from efface.requests.classes.settings import ClassSettings
from efface.settings.base import read_settings
from efface.settings.evaluate import EvaluateSettings
from tests.counting import counting_passes

BRIGHTNESS = Spec(name="brightness", label="B", meaning="", unit="share", side="retain")
LABELS = [1, 2, 1]


class Mean:
    digest = "mean"

    def __call__(self, images: Tensor) -> dict[str, np.ndarray]:
        return {"mean": images.flatten(1).mean(1).numpy()}


class Bright(Protocol):
    """Samples of three labels, a set that nobody looks at, and a probe."""

    def samples(self) -> dict[str, Samples]:
        observers = {"mean": Mean(), "pixels": PixelObserver()}
        return {
            "labels": Samples(seeds=range(5, 8), observers=observers, asked=LABELS),
            "nobody": Samples(seeds=range(9), observers={}, asked=[0] * 9),
        }

    def probe(self, subject: Subject, store: Store) -> Looked:
        del store
        return {"t": {"init": np.array([subject.denoiser.schedule.num_timesteps])}}

    def report(self, seen: Mapping[str, Seen], subjects: Subjects) -> Evaluation:
        values = {m: mean(own["mean"]) for m, own in of_models(seen, "labels", "mean").items()}
        result = make_result(BRIGHTNESS, values, range(5, 8), protocol=subjects.sampled())
        return Evaluation(results=[result], terms={"own": "term"})


PROTOCOL = Bright(views={}, config=EvaluateSettings(batch_size=2))


def test_every_model_draws_every_set_once_and_answers_every_probe(subjects: Subjects) -> None:
    with counting_passes() as passes:
        seen = observe_all(subjects, PROTOCOL, Store(None))
    assert seen.keys() == {"result", "baseline", "baseline_one_step", "retrained"}
    # Two batches of one, two, one and two steps: for both observers together, none for nobody.
    assert len(passes) == 2 * (1 + 2 + 1 + 2)
    for model, subject in subjects.named().items():
        assert seen[model].keys() == {"labels", PROBES}
        samples = SampleSet(subject=subject, seeds=range(5, 8), asked=LABELS)
        images = draw_kept(samples, Store(None), "")
        pixels = torch.from_numpy(seen[model]["labels"]["pixels"]["pixels"]).float() / 255
        assert torch.equal(pixels, images)
        assert seen[model][PROBES]["t"]["init"] == [subject.denoiser.schedule.num_timesteps]


def test_an_evaluation_holds_what_the_protocol_reports_and_how_far_the_model_moved(
    subjects: Subjects, tmp_path: Path
) -> None:
    settings = read_settings("class", ClassSettings)
    job = Job(run=tmp_path, settings=settings, subjects=subjects, views={}, store=Store(None))
    found = evaluate(job, PROTOCOL, subjects.info, LABELS)
    assert [result.metric for result in found.results] == ["brightness"]
    assert found.change["weights"] == found.change["samples"] == 0 and found.change_protocol
    assert found.terms == {"original model": "2 DDIM steps, guidance 1", "own": "term"}
    assert (found.guidance, found.judge) == (1.0, None)
