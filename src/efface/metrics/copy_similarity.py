"""Does the model put a forgotten image back: noise it, denoise it, compare with the original."""

from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler
from torch import Tensor

from efface.data.randomness import derive_seed
from efface.diffusion.denoiser import Condition, Denoiser
from efface.diffusion.sampling import for_ancestral_steps, generators_from_seeds, rows_at_once
from efface.errors import ModelError, RequestError
from efface.progress import Bar

STEPS = 20
SMALLEST_CONTROL = 0.05  # below this mean similarity of unseen images a ratio to it says nothing


@torch.inference_mode()
def denoise_back(
    denoiser: Denoiser,
    images: Tensor,
    t: int,
    draws: int,
    seed: int,
    steps: int = STEPS,
    batch_size: int = 256,
    condition: Condition | None = None,
) -> Tensor:
    """Noise images (K, C, H, W) to timestep t and denoise them: (K, draws, C, H, W), model space.

    With a `condition`, each image under its row of it.

    Ancestral steps at up to `steps` timesteps spread evenly from t to 0. Injected noise and the
    sampler's come from generators of their own for every (image, draw): with a seed shared by both,
    as in the code of SISS, the first step would add the injected noise once more.
    """
    denoiser = for_ancestral_steps(denoiser)
    timesteps = _timesteps(denoiser, t, steps)
    denoiser.network.eval()
    pairs = [(i, k) for i in range(len(images)) for k in range(draws)]
    results = []
    batch_size = rows_at_once(denoiser, batch_size)
    with Bar("denoising back", len(pairs), unit="images") as bar:
        for start in range(0, len(pairs), batch_size):
            part = pairs[start : start + batch_size]
            rows = torch.tensor([i for i, _ in part])
            x0 = images[rows].to(denoiser.device)
            own = None if condition is None else condition[rows.to(condition.device)]
            injected, sampler = (
                generators_from_seeds([derive_seed(seed, purpose, i, k) for i, k in part])
                for purpose in ("inject", "sampler")
            )
            eps = torch.stack([torch.randn(images.shape[1:], generator=g) for g in injected])
            first = torch.full((len(part),), t, device=denoiser.device)
            x_t = denoiser.schedule.add_noise(x0, eps.to(denoiser.device), first)
            results.append(_denoise(denoiser, x_t, own, timesteps, sampler).cpu())
            bar.advance(len(part))
    return torch.cat(results).view(len(images), draws, *images.shape[1:])


def _timesteps(denoiser: Denoiser, t: int, steps: int) -> list[int]:
    """Timesteps in falling order from t to 0; RequestError or ModelError if t cannot be used."""
    last = denoiser.schedule.num_timesteps - 1
    if not 0 <= t <= last:
        raise RequestError(f"timestep {t} was given: this model has timesteps 0 to {last}.")
    if steps < 1:
        raise RequestError(f"{steps} steps were given: denoising needs 1 or more.")
    if t == last and denoiser.schedule.has_zero_terminal_snr:
        raise ModelError(
            f"nothing of an image is left at timestep {t} (zero terminal SNR): give a lower one."
        )
    return np.linspace(t, 0, min(steps, t + 1)).round().astype(int).tolist()


def _denoise(
    denoiser: Denoiser,
    x_t: Tensor,
    condition: Condition | None,
    timesteps: list[int],
    generators: list[torch.Generator],
) -> Tensor:
    scheduler: Any = DDPMScheduler.from_config(denoiser.scheduler.config)
    scheduler.set_timesteps(timesteps=timesteps)
    for timestep in timesteps:
        t = torch.full((len(x_t),), timestep, device=x_t.device)
        output = denoiser(x_t, t, condition).output
        x_t = scheduler.step(output, timestep, x_t, generator=generators).prev_sample
    return x_t


def pixels(images: Tensor) -> Tensor:
    """Pixels less each image's mean: their cosine is the correlation of two images."""
    flat = images.flatten(1)
    return flat - flat.mean(1, keepdim=True)


def similarity(features_a: Tensor, features_b: Tensor) -> Tensor:
    """Cosine of features (B, D) row by row, (B,); 0 where a row is all zero."""
    return torch.cosine_similarity(features_a.double(), features_b.double(), dim=1)


@torch.inference_mode()
def copy_similarity(denoiser: Denoiser, images: Tensor, back: Tensor) -> np.ndarray:
    """Correlation of each image (K, C, H, W) with what the model makes of it: (K,).

    Mean over the draws of `back` (K, draws, C, H, W), from `denoise_back`. Falls as an image is
    forgotten, but also as a model is destroyed: see `normalised_similarity`.
    """
    original = pixels(to_pixels(denoiser, images))
    scores = [similarity(original, pixels(to_pixels(denoiser, draw))) for draw in back.unbind(1)]
    return torch.stack(scores).mean(0).cpu().numpy()


def to_pixels(denoiser: Denoiser, x0: Tensor) -> Tensor:
    """Model space -> images in [0, 1]."""
    return denoiser.codec.decode(x0.to(denoiser.device)).clamp(-1, 1).add(1).div(2)


def normalised_similarity(forgotten: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """Similarity of forgotten images over the mean of unseen ones: (K,), (M,) -> (K,).

    Both by the same procedure. 1 as if never seen, above 1 remembered. A destroyed model loses
    both, so that the ratio does not reward destruction. NaN where the unseen ones' mean is below
    `SMALLEST_CONTROL`: such a model puts nothing back, and no ratio tells what it forgot.
    """
    control = float(unseen.mean())
    if control < SMALLEST_CONTROL:
        return np.full(len(forgotten), np.nan)
    return forgotten / control
