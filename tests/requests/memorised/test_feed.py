from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.testing import assert_close

from efface.data.randomness import Shard
from efface.diffusion.text.denoiser import TextDenoiser
from efface.requests.memorised.feed import CopyStopper, encode_images, pair_source
from efface.requests.memorised.sampling import PromptSampler, to_unit
from efface.requests.memorised.similarity import PIXELS, Comparison, CopyDetector, Sides
from efface.settings.base import Settings

TextModel = Callable[..., TextDenoiser]


def random_images(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(count, 3, 16, 16, generator=generator) * 255).byte()


def sides_of(images: torch.Tensor) -> Sides:
    return Sides(forget=images[:2], retain=images[2:], undecided=0)


def test_latents_of_images_decode_to_them(text_model: TextModel) -> None:
    """Up to what the VAE loses, which is the same whether one or many are encoded."""
    denoiser, images = text_model("sd"), random_images(40)
    latents = encode_images(denoiser, images)
    assert latents.shape == (40, *denoiser.sample_shape)
    posterior = denoiser.codec.vae.encode(images.float() / 127.5 - 1).latent_dist  # pyright: ignore
    scaled = denoiser.codec.vae.config.scaling_factor  # pyright: ignore
    off = (latents - posterior.mean * scaled) / (posterior.std * scaled)
    assert_close(off.std(), torch.tensor(1.0), atol=0.05, rtol=0)
    assert encode_images(denoiser, images).equal(latents)


def test_pairs_are_conditioned_on_both_prompts_by_their_shares(
    text_model: TextModel, make_settings: Callable[..., Settings]
) -> None:
    denoiser, images = text_model("sd"), random_images(6)
    prompts = denoiser.encode(["a red bag", "a bag"])
    nothing = (prompts, images[:0])
    for share, expected in ((1.0, prompts[:1]), (0.0, prompts[1:])):
        settings = make_settings(["train.batch_size=4", f"memorised.original_share={share}"])
        source = pair_source(denoiser, sides_of(images), prompts, nothing, settings)
        assert source.retain_only is None
        batch = source.batch(0, Shard())
        assert (batch.retain.size, batch.forget.size) == (4, 4)
        assert source.bank.forget.equal(encode_images(denoiser, images[:2]))
        for side in (batch.retain, batch.forget):
            assert side.condition is not None
            for name, tensor in side.condition.tensors.items():
                assert_close(tensor, expected.tensors[name].expand_as(tensor))


def test_samples_of_control_prompts_are_retained_under_their_own_prompts(
    text_model: TextModel,
    make_settings: Callable[..., Settings],
    words: list[str],
) -> None:
    denoiser, samples = text_model("sd"), random_images(6)
    prompts = denoiser.encode(["a red bag", "a bag"])
    settings = make_settings(["memorised.control_share=0.25", "memorised.control_images=2"])
    controls = (denoiser.encode(words[:3]), samples)
    found = pair_source(denoiser, sides_of(samples), prompts, controls, settings).retain_only
    assert found is not None and found.share == 0.25
    twice = denoiser.encode([word for word in words[:3] for _ in range(2)])
    for name, tensor in twice.tensors.items():
        assert torch.equal(found.condition.tensors[name], tensor)
    assert torch.equal(found.images, encode_images(denoiser, samples))


@dataclass(frozen=True, eq=False, kw_only=True)
class CountingPixels(Comparison):
    seen: list[int] = field(default_factory=list)

    def features(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        return super().features(images)


def make_stopper(sampler: PromptSampler, detector: CopyDetector, count: int) -> CopyStopper:
    return CopyStopper(
        detector=detector,
        prompts=["a red bag", "a cat"],
        sampler=sampler.sampler,
        seeds=sampler.seeds("prompt", count),
        batch_size=4,
    )


def test_a_stopper_samples_every_prompt(sampler: PromptSampler) -> None:
    own = to_unit(sampler.sample(["a cat"], 3, "prompt"))
    other = CopyDetector(reference=torch.rand(own.shape[1:]), threshold=0.999, comparison=PIXELS)
    stopper = make_stopper(sampler, other, 3)
    assert "none of 6 samples" in (stopper.check(sampler.denoiser) or "")
    for image in own:  # one copy, under the second prompt, is enough to go on
        detector = replace(other, reference=image)
        assert replace(stopper, detector=detector).check(sampler.denoiser) is None


def test_a_check_ends_at_the_first_copy(sampler: PromptSampler) -> None:
    """Batches after the first that holds a copy are not sampled."""
    own = to_unit(sampler.sample(["a red bag"], 1, "prompt"))
    comparison = CountingPixels()
    detector = CopyDetector(reference=own[0], threshold=0.999, comparison=comparison)
    stopper = make_stopper(sampler, detector, 6)
    assert stopper.check(sampler.denoiser) is None
    assert comparison.seen == [5]  # four samples and the reference
    never = replace(detector, threshold=1.1)
    assert replace(stopper, detector=never).check(sampler.denoiser) is not None
    assert comparison.seen == [5, 5, 5, 5]
