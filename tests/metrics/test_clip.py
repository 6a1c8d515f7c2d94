"""CLIP metrics with a tiny CLIP and a tiny tokenizer, against torchmetrics and by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from efface.errors import DataError
from efface.metrics.base import Observations
from efface.metrics.clip import Clip, load_clip
from efface.metrics.clip_iqa import CLIP_IQA, OPPOSITES, prompt_quality
from efface.metrics.clip_score import CLIP_SCORE, prompt_similarity
from efface.metrics.extractors import load_extractor
from efface.metrics.intervals import bounded_mean, mean
from tests.metrics.clips import LENGTH, make_clip, tokenizer
from tests.metrics.ends import measure

PROMPTS = ["a cat", "a dog", "a cat", "many birds in a tree", ""]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "tiny-clip")


@pytest.fixture(scope="module")
def clip(folder) -> Clip:
    return load_clip(folder)


def images(count: int = 5) -> Tensor:
    """At the 256 levels, as torchmetrics wants them."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, 10, 10), generator=generator) / 255


class Plain(transformers.CLIPModel):
    """A CLIP whose features are tensors, as torchmetrics expects them."""

    def get_image_features(self, pixel_values: Tensor) -> Any:
        seen: Any = super().get_image_features(pixel_values=pixel_values)  # pyright: ignore
        return seen.pooler_output

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        seen: Any = super().get_text_features(input_ids, attention_mask)  # pyright: ignore
        return seen.pooler_output


def by_torchmetrics(folder: Path, batch: Tensor, prompts: list[str]) -> float:
    module = pytest.importorskip("torchmetrics.multimodal.clip_score")

    def load() -> tuple[Any, Any]:
        processor = transformers.CLIPProcessor(
            image_processor=transformers.CLIPImageProcessorPil.from_pretrained(folder),
            tokenizer=transformers.CLIPTokenizer.from_pretrained(folder),
        )
        return Plain.from_pretrained(folder).eval(), processor

    metric = module.CLIPScore(model_name_or_path=load)
    metric.update([image.mul(255).byte() for image in batch], prompts)
    return float(metric.compute())


def seen(**found: np.ndarray) -> Observations:
    count = len(next(iter(found.values())))
    return Observations(
        asked=np.zeros(count),
        probabilities=np.ones((count, 1)),
        features=np.zeros((count, 1)),
        **found,
    )


def test_clip_score_equals_torchmetrics(folder, clip):
    """Relative difference at most 1e-4; torchmetrics cuts at 0 after the mean, so that pairs with
    a cosine above 0 are taken."""
    batch, prompts = images(40), [PROMPTS[i % 3] for i in range(40)]
    cosines = prompt_similarity(clip, clip.embed_images(batch), prompts)
    above = np.flatnonzero(cosines > 0)
    assert len(above) > 5
    expected = by_torchmetrics(folder, batch[above], [prompts[i] for i in above])
    estimate = measure(CLIP_SCORE, seen(prompt_similarity=cosines[above]), [], None)
    assert estimate.value == pytest.approx(expected, rel=1e-4)


def test_similarities_are_cosines_of_each_image_with_its_own_prompt(clip):
    embedded = clip.embed_images(images())
    cosines = prompt_similarity(clip, embedded, PROMPTS)
    for i, prompt in enumerate(PROMPTS):
        text = clip.embed_prompts([prompt])[0]
        assert cosines[i] == pytest.approx(float(embedded[i] @ text), abs=1e-6)
    np.testing.assert_allclose(np.linalg.norm(embedded, axis=1), 1, atol=1e-6)
    assert cosines.std() > 1e-3  # the images do not all look alike


def test_other_prompts_in_the_batch_do_not_change_an_embedding(clip):
    """Padding to the longest prompt is not read."""
    together = clip.embed_prompts(PROMPTS)
    apart = np.concatenate([clip.embed_prompts([prompt]) for prompt in PROMPTS])
    np.testing.assert_allclose(together, apart, atol=1e-6)
    assert np.abs(together[0] - together[1]).max() > 1e-3


def test_batches_do_not_change_what_is_seen(clip):
    whole = images(7)
    apart = np.concatenate([clip.embed_images(batch) for batch in whole.split(3)])
    np.testing.assert_allclose(clip.embed_images(whole), apart, atol=1e-6)


def test_prompts_that_are_too_long_are_cut_off(clip):
    longest = "x y z " * ((LENGTH - 2) // 3)
    cut = clip.embed_prompts([longest + "x a b c"])
    np.testing.assert_allclose(cut, clip.embed_prompts([longest + "x"]), atol=1e-6)
    assert np.abs(cut - clip.embed_prompts([longest + "a"])).max() > 1e-4


def test_cosines_below_zero_count_as_zero_one_by_one():
    cosines = np.array([0.5, -0.5, 0.25])
    assert measure(CLIP_SCORE, seen(prompt_similarity=cosines), [], None) == mean(
        np.array([50.0, 0.0, 25.0])
    )


def test_quality_equals_the_formula_of_torchmetrics(folder, clip):
    """Relative difference at most 1e-4: softmax of 100 times the cosines, the good prompt first.

    As `torchmetrics.functional.multimodal.clip_iqa` computes it for CLIPs of transformers; it
    loads those by name alone, so that its lines are written out here.
    """
    network: Any = transformers.CLIPModel.from_pretrained(folder).eval()
    words = tokenizer()(list(OPPOSITES), return_tensors="pt", padding=True)
    levels = [image.mul(255).byte() for image in images()]
    pixels = transformers.CLIPImageProcessorPil.from_pretrained(folder)(levels, return_tensors="pt")
    with torch.inference_mode():
        text = network.get_text_features(**words).pooler_output
        image = network.get_image_features(**pixels).pooler_output
    text, image = text / text.norm(dim=-1, keepdim=True), image / image.norm(dim=-1, keepdim=True)
    expected = (100 * image @ text.t()).reshape(5, -1, 2).softmax(-1)[:, 0, 0].numpy()
    quality = prompt_quality(clip, clip.embed_images(images()))
    np.testing.assert_allclose(quality, expected, rtol=1e-4)
    assert quality.max() - quality.min() > 0.1
    assert measure(CLIP_IQA, seen(prompt_quality=quality), [], None) == bounded_mean(quality)


def test_swapped_opposites_give_the_complement(clip):
    embedded = clip.embed_images(images())
    there = prompt_quality(clip, embedded, ("a cat", "a dog"))
    back = prompt_quality(clip, embedded, ("a dog", "a cat"))
    np.testing.assert_allclose(there + back, 1, atol=1e-12)
    same = prompt_quality(clip, embedded, ("a cat", "a cat"))
    np.testing.assert_allclose(same, 0.5, atol=1e-12)


def test_the_temperature_is_the_models_own(clip):
    assert clip.temperature == pytest.approx(100, rel=1e-5)


def test_a_clip_and_its_image_tower_as_extractor_have_one_checksum(folder, clip):
    extractor = load_extractor(folder)
    assert clip.described() == extractor.described()
    features = extractor.features(images())
    unit = (features / features.norm(dim=1, keepdim=True)).numpy()
    np.testing.assert_allclose(clip.embed_images(images()), unit, atol=1e-6)
    assert load_clip(folder, clip.sha256).sha256 == clip.sha256
    with pytest.raises(DataError, match="has the checksum"):
        load_clip(folder, "0" * 64)


def test_another_tokenizer_is_another_checksum(folder, clip, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    path.write_text(json.dumps(content))
    other = load_clip(tmp_path)
    assert other.sha256 != clip.sha256
    assert np.abs(other.embed_prompts(["a"]) - clip.embed_prompts(["ab"])).max() > 1e-4


def test_what_is_no_clip_is_refused(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="is no readable .* vision model"):
        load_clip(tmp_path)


def test_what_was_not_observed_is_named(clip):
    plain = replace(seen(prompt_quality=np.ones(3)), prompt_quality=None)
    with pytest.raises(DataError, match="clip_score needs prompts"):
        measure(CLIP_SCORE, plain, [], None)
    with pytest.raises(DataError, match="clip_iqa needs opposite prompts"):
        measure(CLIP_IQA, plain, [], None)
    with pytest.raises(DataError, match="5 images have 2 prompts"):
        prompt_similarity(clip, clip.embed_images(images()), ["a", "b"])
