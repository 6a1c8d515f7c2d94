from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from efface.requests.memorised.sampling import PromptSampler, to_unit
from efface.requests.memorised.similarity import PIXELS, Comparison, CopyDetector
from efface.requests.memorised.stopping import CopyStopper


@dataclass(frozen=True, eq=False, kw_only=True)
class CountingPixels(Comparison):
    seen: list[int] = field(default_factory=list)

    def features(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        return super().features(images)


def test_a_stopper_samples_every_prompt(sampler: PromptSampler) -> None:
    prompts = sampler.denoiser.encode(["a red bag", "a cat"])
    own = to_unit(sampler.sample_one(prompts[1:], range(3), "own"))
    other = CopyDetector(reference=torch.rand(own.shape[1:]), threshold=0.999, comparison=PIXELS)
    stopper = CopyStopper(
        detector=other, prompts=prompts, sampler=sampler.sampler, seeds=range(3), batch_size=4
    )
    assert "none of 6 samples" in (stopper.check(sampler.denoiser) or "")
    for image in own:  # one copy, under the second prompt, is enough to go on
        detector = replace(other, reference=image)
        assert replace(stopper, detector=detector).check(sampler.denoiser) is None


def test_a_check_ends_at_the_first_copy(sampler: PromptSampler) -> None:
    """Batches after the first that holds a copy are not sampled."""
    prompts = sampler.denoiser.encode(["a red bag", "a cat"])
    own = to_unit(sampler.sample_one(prompts[:1], range(1), "own"))
    comparison = CountingPixels()
    detector = CopyDetector(reference=own[0], threshold=0.999, comparison=comparison)
    stopper = CopyStopper(
        detector=detector, prompts=prompts, sampler=sampler.sampler, seeds=range(6), batch_size=4
    )
    assert stopper.check(sampler.denoiser) is None
    assert comparison.seen == [5]  # four samples and the reference
    never = replace(detector, threshold=1.1)
    assert replace(stopper, detector=never).check(sampler.denoiser) is not None
    assert comparison.seen == [5, 5, 5, 5]
