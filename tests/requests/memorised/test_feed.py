from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.testing import assert_close

from efface.data.randomness import Shard
from efface.diffusion.text.denoiser import TextDenoiser
from efface.requests.memorised.captions import Sought
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
        source = pair_source(denoiser, [sides_of(images)], prompts, nothing, settings)
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
    found = pair_source(denoiser, [sides_of(samples)], prompts, controls, settings).retain_only
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


def sought(*detectors: CopyDetector) -> list[Sought]:
    return [Sought(prompt="a red bag", modified="a cat", detector=one) for one in detectors]


def make_stopper(sampler: PromptSampler, detector: CopyDetector, count: int) -> CopyStopper:
    return CopyStopper(
        captions=sought(detector),
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
        assert replace(stopper, captions=sought(detector)).check(sampler.denoiser) is None


def test_a_run_of_several_captions_goes_on_while_any_has_copies(sampler: PromptSampler) -> None:
    (own,) = to_unit(sampler.sample(["a cat"], 1, "prompt"))
    there = CopyDetector(reference=own, threshold=0.999, comparison=PIXELS)
    gone = replace(there, threshold=1.1)
    stopper = make_stopper(sampler, gone, 3)
    for detectors in ((there, gone), (gone, there)):
        assert replace(stopper, captions=sought(*detectors)).check(sampler.denoiser) is None
    never = replace(stopper, captions=sought(gone, gone)).check(sampler.denoiser)
    assert "none of 12 samples" in (never or "")


def test_pairs_of_several_captions_have_images_and_prompts_of_one(
    text_model: TextModel, make_settings: Callable[..., Settings]
) -> None:
    denoiser, images = text_model("sd"), random_images(12)
    sides = [sides_of(images[:5]), sides_of(images[5:])]
    prompts = denoiser.encode(["a red bag", "a bag", "a red cup", "a cup"])
    settings = make_settings(["train.batch_size=4", "memorised.original_share=0.5"])
    source = pair_source(denoiser, sides, prompts, (prompts, images[:0]), settings)
    assert source.bank.groups == ((3, 2), (5, 2))
    bank = source.bank
    latents = [
        torch.cat([bank.retain[:3], bank.forget[:2]]),
        torch.cat([bank.retain[3:], bank.forget[2:]]),
    ]
    met = set()
    for step in range(12):
        batch = source.batch(step, Shard())
        for row in range(4):
            found = set()
            for side in (batch.retain, batch.forget):
                assert side.x0 is not None and side.condition is not None
                name, encoded = next(iter(side.condition.tensors.items()))
                (rows,) = torch.where((prompts.tensors[name] == encoded[row]).flatten(1).all(1))
                apart = [(own - side.x0[row]).flatten(1).norm(dim=1).min() for own in latents]
                found |= {int(torch.stack(apart).argmin()), int(rows[0]) // 2}
            assert len(found) == 1
            met |= found
    assert met == {0, 1}


def test_a_check_ends_at_the_first_copy(sampler: PromptSampler) -> None:
    """Batches after the first that holds a copy are not sampled."""
    own = to_unit(sampler.sample(["a red bag"], 1, "prompt"))
    comparison = CountingPixels()
    detector = CopyDetector(reference=own[0], threshold=0.999, comparison=comparison)
    stopper = make_stopper(sampler, detector, 6)
    assert stopper.check(sampler.denoiser) is None
    assert comparison.seen == [5]  # four samples and the reference
    never = replace(detector, threshold=1.1)
    assert replace(stopper, captions=sought(never)).check(sampler.denoiser) is not None
    assert comparison.seen == [5, 5, 5, 5]
