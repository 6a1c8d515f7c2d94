from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor


def test_a_model_of_one_image_gives_it_away_however_little_is_given(
    point_mass, case_of, heart, tiny, values
):
    result = tiny("partial_denoising").run(case_of(point_mass, point_mass, heart))
    assert values(result, "result") == [1, 1]
    assert values(result, "unseen") == [0, 0]


def test_without_a_retrained_model_and_unseen_images_the_floor_is_zero(
    point_mass, case_of, heart, tiny
):
    alone = dataclasses.replace(heart, unseen=None)
    result = tiny("partial_denoising").run(case_of(point_mass, point_mass, alone))
    assert (result.floor, result.level) == (0, 1)


def test_a_flow_model_recovers_a_noised_image_exactly(
    first_image, world, all_known, case_of, tiny, values
):
    """By its own levels and kind of prediction: read as another kind it comes out too strong."""
    faint, original = 0.3 * (2 * first_image.image - 1), world(all_known, flow=True)
    original.network.get_buffer("images").mul_(0.3)

    def nearness(images: Tensor) -> np.ndarray:
        return -(images * 2 - 1 - faint).flatten(1).abs().amax(1).numpy()

    image = (faint + 1) / 2
    exact = dataclasses.replace(first_image, image=image, finder=nearness, threshold=-0.01)
    attack = tiny("partial_denoising", given=(0.95,), images=4, samples=40, sampling_steps=12)
    assert values(attack.run(case_of(original, original, exact, 6)), "result") == [1.0]


def test_the_memorised_image_itself_is_noised_and_not_a_sample(
    first_image, world, all_known, case_of, tiny, values
):
    """The model generates another image for the prompt, and recovers this one from its noise."""
    all_known[0] = all_known[1].clone()
    original = world(all_known)
    assert not first_image.shown((first_image.forgotten(original, 4, 0).x0 + 1) / 2).any()
    attack = tiny("partial_denoising", given=(0.1, 0.3, 0.6), images=4, samples=40)
    attack = attack.model_copy(update={"sampling_steps": 12})
    assert values(attack.run(case_of(original, original, first_image, 6)), "result")[-1] > 0.9


def test_one_image_is_denoised_under_many_control_prompts(text_model, case_of, caption, tiny):
    words, batches = text_model("sd"), []

    def find(images: Tensor) -> np.ndarray:
        batches.append(len(images))
        return np.zeros(len(images))

    many = dataclasses.replace(caption, others=["a cat", "a coat", "x"], finder=find)
    tiny("partial_denoising", given=(0.5,), samples=4).run(case_of(words, words, many))
    assert (batches[0], batches[-1]) == (4, 3)  # the control comes last, and once for each prompt


def test_the_protocol_says_what_was_noised(digits, point_mass, case_of, zero, heart, tiny):
    labels = tiny("partial_denoising").run(case_of(digits, digits, zero)).curve.protocol
    assert "3 noised: samples of the original model" in labels and "the null label" in labels
    images = tiny("partial_denoising").run(case_of(point_mass, point_mass, heart)).curve.protocol
    assert images.startswith("forgotten images")


def test_samples_of_a_class_are_noised_as_the_original_model_generates_them(digits, zero):
    samples, noised = zero.forgotten(digits, 2, 0), zero.originals(digits, 2, 0)
    assert torch.equal(samples.x0, noised.x0)
