"""Reconstruction with networks that know a picture, know nothing, or write down what they get."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn

from efface.data.randomness import derive_seed
from efface.diffusion.denoiser import UnconditionalDenoiser
from efface.diffusion.schedule import NoiseSchedule
from efface.errors import ModelError, RequestError
from efface.metrics.copy_similarity import (
    copy_similarity,
    denoise_back,
    normalised_similarity,
    pixels,
    similarity,
    to_pixels,
)

SHAPE = (1, 4, 4)


class Oracle(nn.Module):
    """Predicts the same x0 whatever it gets, and keeps what it got."""

    def __init__(self, picture: Tensor) -> None:
        super().__init__()
        self.picture = picture
        self.seen: list[tuple[int, Tensor]] = []

    def forward(self, x: Tensor, t: Tensor, return_dict: bool) -> tuple[Tensor]:
        del return_dict
        self.seen.append((int(t[0]), x.clone()))
        return (self.picture.expand_as(x),)


def denoiser_of(network: nn.Module, **changes: object) -> UnconditionalDenoiser:
    config = {"prediction_type": "sample", "clip_sample": False} | changes
    scheduler = DDIMScheduler(**config)  # pyright: ignore[reportArgumentType]
    return UnconditionalDenoiser(
        network=network,
        schedule=NoiseSchedule.from_scheduler(scheduler),
        kind=scheduler.config.prediction_type,  # pyright: ignore
        sample_shape=SHAPE,
        scheduler=scheduler,
    )


def picture(seed: int = 0, count: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, *SHAPE, generator=generator) * 2 - 1


def test_an_oracle_puts_its_picture_back():
    known, other = picture(0), picture(1, 3)
    denoiser = denoiser_of(Oracle(known))
    back = denoise_back(denoiser, known, 250, 3, 0)
    np.testing.assert_allclose(copy_similarity(denoiser, known, back), 1, atol=1e-6)
    back = denoise_back(denoiser, other, 250, 2, 0)
    assert back.shape == (3, 2, *SHAPE)
    torch.testing.assert_close(back, known.expand_as(back))
    scores = copy_similarity(denoiser, other, back)
    expected = [np.corrcoef(known.flatten(), p.flatten())[0, 1] for p in other]
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert np.abs(scores).max() < 0.9


def test_images_are_compared_in_the_unit_range():
    """Beyond it pixels are cut off, as in a file."""
    known = torch.tensor([-1.0, -0.5, 0.0, 3.0]).repeat(4).view(1, *SHAPE)
    denoiser = denoiser_of(Oracle(known))
    unit = to_pixels(denoiser, known)
    torch.testing.assert_close(unit.flatten()[:4], torch.tensor([0.0, 0.25, 0.5, 1.0]))
    other = picture(2)
    expected = np.corrcoef(unit.flatten(), other.flatten())[0, 1]
    back = denoise_back(denoiser, other, 250, 2, 0)
    assert copy_similarity(denoiser, other, back) == pytest.approx(expected, abs=1e-6)


def test_a_model_that_puts_back_grey_has_no_similarity():
    denoiser, images = denoiser_of(Oracle(torch.zeros(1, *SHAPE))), picture(count=2)
    back = denoise_back(denoiser, images, 250, 2, 0)
    assert copy_similarity(denoiser, images, back).tolist() == [0, 0]


def test_each_image_is_denoised_under_its_own_condition(tiny_unet):
    model = tiny_unet()
    images = torch.zeros(2, *model.sample_shape)

    def back(*labels: int) -> Tensor:
        condition = model.encode(labels)
        return denoise_back(model, images, 250, 2, 0, steps=3, batch_size=3, condition=condition)

    first, second = back(1, 2), back(1, 5)
    assert torch.equal(first[0], second[0])
    assert (first[1] - second[1]).abs().amax((1, 2, 3)).min() > 0


def noises(known: Tensor, t: int, draws: int, seed: int) -> tuple[Tensor, Tensor]:
    """The noise injected at t and that of the sampler's first step, from what the oracle got.

    With x0 known, the step from t to s is Gaussian with the mean and variance of the posterior
    q(x_s | x_t, x0) (Ho et al., 2020, eqs. 6 and 7).
    """
    oracle = Oracle(known)
    denoiser = denoiser_of(oracle)
    denoise_back(denoiser, known, t, draws, seed, steps=4)
    (_, x_t), (s, x_s) = oracle.seen[:2]
    alpha, sigma = denoiser.schedule.alphas.double(), denoiser.schedule.sigmas.double()
    injected = (x_t - alpha[t] * known) / sigma[t]
    ratio = (alpha[t] / alpha[s]) ** 2
    mean = (alpha[s] * (1 - ratio) * known + ratio.sqrt() * sigma[s] ** 2 * x_t) / sigma[t] ** 2
    deviation = ((1 - ratio) * sigma[s] ** 2 / sigma[t] ** 2).sqrt()
    return injected, (x_s - mean) / deviation


def test_the_injected_noise_is_never_the_samplers():
    injected, sampled = (n.flatten().numpy() for n in noises(picture(), 250, draws=200, seed=0))
    assert injected.std() == pytest.approx(1, abs=0.05)
    assert sampled.std() == pytest.approx(1, abs=0.05)
    assert abs(np.corrcoef(injected, sampled)[0, 1]) < 0.06  # 3200 numbers: 3.4 standard errors


def test_injected_noise_depends_on_seed_image_and_draw_alone():
    known = picture(0, 3)
    oracle = Oracle(known[:1])
    denoiser = denoiser_of(oracle)
    denoise_back(denoiser, known, 100, draws=2, seed=5, steps=1)
    alpha, sigma = denoiser.schedule.alphas[100], denoiser.schedule.sigmas[100]
    seen = oracle.seen[0][1].view(3, 2, *SHAPE)
    for i in range(3):
        for k in range(2):
            generator = torch.Generator().manual_seed(derive_seed(5, "inject", i, k))
            eps = torch.randn(SHAPE, generator=generator)
            torch.testing.assert_close(seen[i, k], alpha * known[i] + sigma * eps)


def test_batches_do_not_change_what_comes_back(tiny_unet):
    denoiser = tiny_unet(conditional=False)
    images = torch.rand(3, *denoiser.sample_shape) * 2 - 1
    whole = denoise_back(denoiser, images, 250, 2, 0, steps=3)
    cut = denoise_back(denoiser, images, 250, 2, 0, steps=3, batch_size=4)
    torch.testing.assert_close(cut, whole, atol=1e-4, rtol=1e-4)
    assert (denoise_back(denoiser, images, 250, 2, 1, steps=3) - whole).abs().mean() > 1e-3
    assert whole.std(1).mean() > 1e-3  # draws differ


@pytest.mark.parametrize(
    ("t", "steps", "expected"),
    [
        (250, 251, list(range(250, -1, -1))),
        (100, 5, [100, 75, 50, 25, 0]),
        (3, 20, [3, 2, 1, 0]),
        (0, 20, [0]),
        (40, 1, [40]),
    ],
)
def test_steps_go_evenly_from_t_to_zero(t, steps, expected):
    oracle = Oracle(picture())
    denoise_back(denoiser_of(oracle), picture(), t, 1, 0, steps)
    assert [seen for seen, _ in oracle.seen] == expected


def test_what_cannot_be_denoised_is_refused():
    denoiser = denoiser_of(Oracle(picture()))
    for t in (-1, 1000):
        with pytest.raises(RequestError, match=f"timestep {t} was given"):
            denoise_back(denoiser, picture(), t, 1, 0)
    with pytest.raises(RequestError, match="0 steps were given"):
        denoise_back(denoiser, picture(), 10, 1, 0, steps=0)


def test_a_timestep_without_signal_is_refused():
    denoiser = denoiser_of(Oracle(picture()), rescale_betas_zero_snr=True)
    assert denoiser.schedule.alphas[-1] == 0
    with pytest.raises(ModelError, match="nothing of an image is left at timestep 999"):
        denoise_back(denoiser, picture(), 999, 1, 0)
    assert denoise_back(denoiser, picture(), 998, 1, 0).isfinite().all()


def test_similarity_is_the_cosine():
    a = torch.tensor([[1.0, 0.0], [1.0, 1.0], [2.0, 0.0], [0.0, 0.0]])
    b = torch.tensor([[0.0, 3.0], [1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])
    assert similarity(a, b).tolist() == pytest.approx([0, 0.5**0.5, -1, 0])


def test_pixels_do_not_see_brightness_or_contrast():
    a, b = picture(0), picture(1)
    assert similarity(pixels(a), pixels(0.2 * a + 0.5)).item() == pytest.approx(1, abs=1e-6)
    expected = np.corrcoef(a.flatten(), b.flatten())[0, 1]
    assert similarity(pixels(a), pixels(b)).item() == pytest.approx(expected, abs=1e-6)


def test_destruction_is_not_rewarded_by_the_normalised_form():
    forgotten, unseen = np.array([0.9, 0.6]), np.array([0.4, 0.5, 0.6])
    np.testing.assert_allclose(normalised_similarity(forgotten, unseen), [1.8, 1.2])
    damaged = normalised_similarity(0.3 * forgotten, 0.3 * unseen)
    np.testing.assert_allclose(damaged, [1.8, 1.2])


@pytest.mark.parametrize("control", [0.0, 0.049, -0.3])
def test_no_ratio_is_given_to_a_model_that_puts_nothing_back(control):
    ratio = normalised_similarity(np.array([0.3, 0.1]), np.array([control, control]))
    assert ratio.shape == (2,) and np.isnan(ratio).all()
