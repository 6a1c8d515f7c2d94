"""One sample set: the same whatever the batch size or the number of processes, drawn once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState, debug_launcher
from safetensors import safe_open
from torch import Tensor

from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import MultiStep, OneStep, draw_images
from efface.diffusion.text.denoiser import TextDenoiser
from efface.evaluation.sample_sets import SampleSet, Subject, draw_kept, observe
from efface.evaluation.store import Arrays, Store
from tests.text_pipelines import load_text
from tests.tiny import make_tiny_unet

LABELS = [3, 1, 4, 1, 5, 9, 2]


class Pixels:
    """Keeps whole images, and counts how often it is shown any."""

    digest = "pixels"

    def __init__(self) -> None:
        self.batches = 0

    def __call__(self, images: Tensor) -> Arrays:
        self.batches += 1
        return {"pixels": images.numpy()}


class Means(Pixels):
    digest = "means"

    def __call__(self, images: Tensor) -> Arrays:
        self.batches += 1
        return {"means": images.mean((1, 2, 3)).numpy()}


def sample_set(denoiser: Denoiser | None = None, **changes) -> SampleSet:
    subject = Subject(denoiser=denoiser or make_tiny_unet(), sampler=MultiStep(2), digest="tiny")
    known = {"subject": subject, "seeds": range(50, 57), "asked": LABELS, "batch_size": 3}
    return SampleSet(**(known | changes))


def look(samples: SampleSet, store: Store | None = None, **observers) -> dict[str, Arrays]:
    observers = observers or {"pixels": Pixels()}
    return observe(samples, observers, store or Store(None), "test")


def test_samples_are_those_of_their_seeds_and_labels_whatever_the_batch_size():
    denoiser = make_tiny_unet()
    direct = torch.cat(
        [
            draw_images(denoiser, MultiStep(2), denoiser.encode([label]), [50 + i])
            for i, label in enumerate(LABELS)
        ]
    )
    for size in (1, 3, 7, 100):
        seen = look(sample_set(denoiser, batch_size=size))["pixels"]["pixels"]
        np.testing.assert_allclose(seen, direct.numpy(), atol=1e-5)


def test_a_sample_drawn_again_is_the_sample():
    samples = sample_set()
    seen = look(samples)["pixels"]["pixels"]
    again = draw_kept(samples.only([5, 0, 6]), Store(None), "test")
    np.testing.assert_allclose(again.numpy(), seen[[5, 0, 6]], atol=0.5 / 255 + 1e-5)


def test_nothing_is_drawn_twice(tmp_path):
    store, first, second = Store(tmp_path), Pixels(), Pixels()
    once = look(sample_set(), store, pixels=first)
    again = look(sample_set(batch_size=7), store, pixels=second)
    assert (first.batches, second.batches) == (3, 0)
    np.testing.assert_array_equal(once["pixels"]["pixels"], again["pixels"]["pixels"])


def test_only_an_observer_that_has_not_looked_looks(tmp_path):
    store, pixels, means = Store(tmp_path), Pixels(), Means()
    look(sample_set(), store, pixels=pixels)
    seen = look(sample_set(), store, pixels=pixels, means=means)
    assert (pixels.batches, means.batches) == (3, 3)
    expected = seen["pixels"]["pixels"].mean((1, 2, 3))
    np.testing.assert_allclose(seen["means"]["means"], expected, rtol=1e-5)


def test_whatever_changes_the_samples_has_them_drawn_again(tmp_path):
    store, subject = Store(tmp_path), sample_set().subject
    look(sample_set(), store)
    changed = [
        {"seeds": range(51, 58)},
        {"asked": LABELS[::-1]},
        {"subject": Subject(denoiser=subject.denoiser, sampler=MultiStep(3), digest="tiny")},
        {"subject": Subject(denoiser=subject.denoiser, sampler=OneStep(500), digest="tiny")},
        {"subject": Subject(denoiser=subject.denoiser, sampler=MultiStep(2), digest="other")},
        {"subject": Subject(denoiser=subject.denoiser, sampler=MultiStep(2))},
    ]
    for change in changed:
        pixels = Pixels()
        look(sample_set(**change), store, pixels=pixels)
        assert pixels.batches == 3, change


def draw_in_one_of_two_processes(folder: str) -> None:
    torch.set_num_threads(1)
    PartialState._reset_state()  # or that of the parent, with one process, would be taken over
    rank = PartialState(cpu=True).process_index
    own = Pixels()
    seen = look(sample_set(), Store(Path(folder) / "store"), pixels=own)["pixels"]["pixels"]
    assert own.batches < 3  # all three batches would be drawn alone
    np.save(Path(folder) / f"{rank}.npy", seen)


def test_two_processes_share_the_work_and_see_the_same(tmp_path):
    debug_launcher(draw_in_one_of_two_processes, (str(tmp_path),), 2)
    alone = look(sample_set())["pixels"]["pixels"]
    for rank in range(2):
        np.testing.assert_allclose(np.load(tmp_path / f"{rank}.npy"), alone, atol=1e-5)
    kept = Pixels()
    look(sample_set(), Store(tmp_path / "store"), pixels=kept)
    assert kept.batches == 0


def prompt_set(denoiser: TextDenoiser, batch_size: int = 2) -> SampleSet:
    subject = Subject(denoiser=denoiser, sampler=OneStep(600), digest="tiny")
    prompts = ["a bag", "a secret word", "a cat", "a dog", "a boot"]
    return SampleSet(subject=subject, seeds=range(5, 10), asked=prompts, batch_size=batch_size)


def test_prompts_are_kept_by_their_digest_and_sampled_once(
    text_model: Callable[..., TextDenoiser],
    tmp_path: Path,
):
    store, first, second = Store(tmp_path), Pixels(), Pixels()
    samples = prompt_set(text_model("sd"))
    look(samples, store, pixels=first)
    look(prompt_set(text_model("sd"), batch_size=5), store, pixels=second)
    assert (first.batches, second.batches) == (3, 0)
    (file,) = tmp_path.glob("*.safetensors")
    with safe_open(file, "np") as kept:
        assert "secret" not in kept.metadata()["key"]
    others = ["a bag", "another word", "a cat", "a dog", "a boot"]
    third = Pixels()
    look(dataclasses.replace(samples, asked=others), store, pixels=third)
    assert third.batches == 3


def sample_prompts_in_one_of_two_processes(folder: str) -> None:
    torch.set_num_threads(1)
    PartialState._reset_state()  # or that of the parent, with one process, would be taken over
    PartialState(cpu=True)
    pixels = Pixels()
    samples = prompt_set(load_text(Path(folder) / "model"), batch_size=1)
    seen = look(samples, pixels=pixels)["pixels"]["pixels"]
    rank = torch.distributed.get_rank()
    np.savez(Path(folder) / f"{rank}.npz", seen=seen, batches=pixels.batches)


def test_two_processes_share_the_prompts_and_see_the_same(
    pipelines: Callable[[str], Path],
    text_model: Callable[..., TextDenoiser],
    tmp_path: Path,
):
    (tmp_path / "model").symlink_to(pipelines("sd"))
    debug_launcher(sample_prompts_in_one_of_two_processes, (str(tmp_path),), 2)
    alone = look(prompt_set(text_model("sd")))["pixels"]["pixels"]
    shares = []
    for rank in range(2):
        found = np.load(tmp_path / f"{rank}.npz")
        np.testing.assert_allclose(found["seen"], alone, atol=1e-5)
        shares.append(int(found["batches"]))
    assert shares == [3, 2]
