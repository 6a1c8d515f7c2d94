"""Models that memorise: an exact posterior mean, and runs on tiny real pipelines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from efface.cli import app
from efface.diffusion.sampling import MultiStep
from efface.diffusion.text.denoiser import TextDenoiser
from efface.requests.memorised.request import ForgetMemorised
from efface.requests.memorised.sampling import PromptSampler
from efface.requests.memorised.searching import PromptSearch
from efface.requests.memorised.settings import MemorisedSettings
from efface.requests.memorised.similarity import PIXELS, CopyDetector
from efface.settings.base import Settings, read_settings
from tests.metrics.clips import make_clip
from tests.text_pipelines import BUILD

PROMPT = "red bag on tv"
WORDS = [
    f"{colour} {thing}"
    for colour in ("red", "blue", "big", "old", "cut", "wet", "dry", "hot")
    for thing in ("cat", "dog", "cup", "car", "bed", "pen", "hat", "box")
]
# On random weights an image with some similarity has to count as a copy.
SMALL = (
    "train.steps=2",
    "train.batch_size=4",
    "train.learning_rate=1e-2",
    "train.checkpoint_every=1",
    # In place of what the recipe that ships has for Stable Diffusion 1.x and whole batches.
    "train.accumulation=1",
    "train.gradient_checkpointing=false",
    "train.ignore_memory=true",  # tests/memory estimates every family
    "method.rule_name=relative_norm",
    "memorised.original_share=0.5",
    "memorised.undecided=0.5",
    "evaluate.guidance=1.0",
    "evaluate.baseline_steps=2",
    "evaluate.batch_size=64",
    "evaluate.forget_samples=10",
    "evaluate.retain_samples=10",
    "memorised.force=true",
    "memorised.samples=4",
    "memorised.control_images=2",
    "memorised.noises=2",
    "memorised.images=16",
    "memorised.least_rows=2",
    "memorised.copy_similarity=0.25",
    "memorised.control_share=0.25",
    "method.retain_only_target=teacher",
)
OTHERS = 40  # images that every prompt generates
LOGIT, FALL = 4.0, 0.08  # log odds of the memorised image at its prompt, and how they fall


class PosteriorMean(nn.Module):
    """The exact denoiser of latents that are sampled from a finite set.

    The memorised one has log odds LOGIT - FALL |e - e*|^2 against all others together, with e* the
    embedding of its prompt.
    """

    def __init__(self, schedule: Any, latents: Tensor, embedding: Tensor) -> None:
        super().__init__()
        self.config = None
        self.schedule, self.latents, self.embedding = schedule, latents, embedding
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        return_dict: bool = False,
    ) -> tuple[Tensor]:
        del return_dict
        x_t, t = sample, timestep
        away = (encoder_hidden_states - self.embedding).square().sum((1, 2))
        odds = (LOGIT - FALL * away)[:, None]
        prior = torch.cat([odds, x_t.new_zeros(len(x_t), OTHERS) - torch.tensor(OTHERS).log()], 1)
        alpha, sigma = self.schedule.levels(t, x_t)
        flat, bank = x_t.flatten(1), self.latents.flatten(1)
        distances = (flat[:, None] - alpha.flatten(1)[:, None] * bank).square().sum(2)
        weights = (prior - distances / (2 * sigma.flatten(1).square())).softmax(1)
        x0 = (weights @ bank).view_as(x_t)
        return ((x_t - alpha * x0) / sigma,)


@pytest.fixture(scope="session")
def prompt() -> str:
    """The prompt of the memorised image."""
    return PROMPT


@pytest.fixture(scope="session")
def words() -> list[str]:
    """Prompts without a memorised image."""
    return WORDS


@pytest.fixture(scope="session")
def memorising(text_model: Callable[..., TextDenoiser]) -> TextDenoiser:
    denoiser = text_model("sd", fresh=True)
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1 + OTHERS, *denoiser.sample_shape, generator=generator)
    embedding = denoiser.encode([PROMPT]).tensors["encoder_hidden_states"]
    return denoiser.with_network(PosteriorMean(denoiser.schedule, latents, embedding))


@pytest.fixture(scope="session")
def memorised_image(memorising: TextDenoiser) -> Tensor:
    """(C, H, W) in [0, 1]."""
    latents: Any = memorising.network.latents
    return memorising.codec.decode(latents[:1])[0].clamp(-1, 1).add(1).div(2)


@pytest.fixture(scope="session")
def sampler(memorising: TextDenoiser) -> PromptSampler:
    return PromptSampler(denoiser=memorising, sampler=MultiStep(8), batch_size=64)


@pytest.fixture(scope="session")
def detector(memorised_image: Tensor) -> CopyDetector:
    return CopyDetector(reference=memorised_image, threshold=0.9, comparison=PIXELS)


@pytest.fixture(scope="session")
def small() -> tuple[str, ...]:
    """Changes that make a run short."""
    return SMALL


@pytest.fixture(scope="session")
def make_settings() -> Callable[..., Settings]:
    """The settings of a request, with changes."""

    def make(
        changes: Sequence[str] = (), method: str | None = "siss", recipe: str | Path | None = None
    ) -> Settings:
        section, own = ForgetMemorised.section, ForgetMemorised.own
        return read_settings(section, own, method=method, recipe=recipe, changes=changes)

    return make


@pytest.fixture(scope="session")
def own_settings(make_settings: Callable[..., Settings]) -> Callable[..., MemorisedSettings]:
    """The section `memorised`, with changes."""
    return lambda *changes: make_settings(changes).of(MemorisedSettings)


@pytest.fixture(scope="session")
def make_search(
    sampler: PromptSampler, detector: CopyDetector, own_settings: Callable[..., MemorisedSettings]
) -> Callable[..., PromptSearch]:
    def make(*changes: str) -> PromptSearch:
        own = own_settings("memorised.samples=16", "memorised.noises=2", *changes)
        return PromptSearch(sampler=sampler, detector=detector, settings=own)

    return make


@pytest.fixture(scope="session")
def controls(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of control prompts, of which training uses the first half."""
    file = tmp_path_factory.mktemp("prompts") / "controls.txt"
    others = [f"{word} here" for word in WORDS]
    # The prompt itself is no control prompt.
    file.write_text("\n".join(["a red  BAG", *WORDS, *others]))
    return str(file)


@pytest.fixture(scope="session")
def request_(controls: str) -> ForgetMemorised:
    return ForgetMemorised(prompt="a red bag", modified_prompt="a bag", control_prompts=controls)


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "tiny-clip")


@pytest.fixture(scope="session")
def clip(clip_folder: Path) -> str:
    """The change that measures with a CLIP."""
    return f"evaluate.clip={str(clip_folder)!r}"


@pytest.fixture(scope="session")
def run(
    pipelines: Callable[[str], Path],
    request_: ForgetMemorised,
    clip: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A finished run of the command line, which tests copy before they change it."""
    out = tmp_path_factory.mktemp("runs") / "memorised"
    words = request_.model_dump(exclude={"kind"}, exclude_none=True)
    options = {f"--{name.replace('_', '-')}": value for name, value in words.items()}
    options |= {"--out": str(out)}
    given = [part for option in options.items() for part in option]
    changes = [part for change in (*SMALL, clip) for part in ("--set", change)]
    done = CliRunner().invoke(app, ["forget", "memorised", str(pipelines("sd")), *given, *changes])
    assert done.exit_code == 0, done.output
    return out


@pytest.fixture(scope="session")
def obedient(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline whose samples depend more on their prompt than on their noise."""
    pipeline = BUILD["sd"]()
    with torch.no_grad():
        for name, tensor in pipeline.unet.named_parameters():
            if "attn2.to_v" in name or "attn2.to_out" in name:
                tensor.mul_(30)
    folder = tmp_path_factory.mktemp("obedient")
    pipeline.save_pretrained(folder)
    return folder
