"""Images of a model as PNG files and as one sheet."""

from collections.abc import Sequence
from pathlib import Path

from accelerate import Accelerator

from efface.diffusion.denoiser import ClassDenoiser
from efface.diffusion.loading import load
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.one_step import default_sampler
from efface.diffusion.sampling import MultiStep, draw_images
from efface.errors import ModelError, RequestError
from efface.evaluation.grids import save_grid
from efface.evaluation.subjects import name_labels
from efface.files import require_empty
from efface.requests.classes.request import find_label


def sample(
    model: str | Path,
    out: str | Path,
    *,
    labels: Sequence[int | str] = (),
    prompts: Sequence[str] = (),
    count: int = 10,
    seed: int = 0,
    steps: int | None = None,
    guidance: float = 1.0,
    null_label: int | None = None,
    size: int | None = None,
) -> int:
    """Generate `count` images per label or prompt into a new folder `out`; returns their number.

    Without labels a class-conditional model is sampled under all of them, without prompts a
    text-to-image model under the empty one. Image i has the seed `seed` + i. Without `steps` a
    one-step generator takes its one step, any other model its own number of DDIM steps.
    RequestError for a folder that exists, and for conditions that the model does not take.
    """
    out = Path(out)
    require_empty(out)
    info = name_labels(inspect_model(model, null_label, size), None)
    if labels and info.num_classes is None:
        raise RequestError(f"{info.source} is not class-conditional: leave --label out.")
    if prompts and info.family is None:
        raise RequestError(f"{info.source} takes no prompts: leave --prompt out.")
    denoiser = load(info).to(Accelerator().device)
    sampler = default_sampler(info, denoiser, guidance)
    if steps is not None:
        sampler = MultiStep(steps, guidance=guidance)
    condition, names = None, [f"{i:05d}" for i in range(count)]
    if isinstance(denoiser, ClassDenoiser):
        given = [find_label(label, info) for label in labels]
        each = [label for label in (given or denoiser.labels) for _ in range(count)]
        names = [f"label{label:04d}_{i % count:05d}" for i, label in enumerate(each)]
        condition = denoiser.encode(each)
    elif prompts:
        names = [f"prompt{n:04d}_{i:05d}" for n in range(len(prompts)) for i in range(count)]
        condition = denoiser.encode([prompt for prompt in prompts for _ in range(count)])
    seeds = [seed + i for i in range(len(names))]
    images = draw_images(denoiser, sampler, condition, seeds)
    if (images.flatten(1).amin(1) == images.flatten(1).amax(1)).any():
        raise ModelError(
            f"{info.source} generates images of a single value ({sampler.describe()}), so nothing "
            "was written: its weights are broken, or its configuration is not theirs."
        )
    out.mkdir(parents=True, exist_ok=True)
    for image, name in zip(images, names, strict=True):
        save_grid(image[None], 1, out / f"{name}.png")
    save_grid(images, count, out / "grid.png")
    return len(names)
