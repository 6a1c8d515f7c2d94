"""A tiny CLIP with a tiny tokenizer: what it embeds, and what is none."""

from __future__ import annotations

import json

import numpy as np
import pytest

from efface.errors import DataError
from efface.metrics.clip import load_clip
from efface.metrics.clip_iqa import prompt_quality
from efface.metrics.extractors import load_extractor
from tests.metrics.clips import LENGTH, PROMPTS, images

CONTRASTS = [("a bag", "a coat", "a cat"), ("a coat", "a bag", "a bag"), ("a", "b", "c")]


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


def test_the_temperature_is_the_models_own(clip):
    assert clip.temperature == pytest.approx(100, rel=1e-5)


def test_a_clip_and_its_image_tower_as_extractor_have_one_checksum(clip_folder, clip):
    extractor = load_extractor(clip_folder)
    assert clip.described() == extractor.described()
    features = extractor.features(images())
    unit = (features / features.norm(dim=1, keepdim=True)).numpy()
    np.testing.assert_allclose(clip.embed_images(images()), unit, atol=1e-6)
    assert load_clip(clip_folder, clip.sha256).sha256 == clip.sha256
    with pytest.raises(DataError, match="has the checksum"):
        load_clip(clip_folder, "0" * 64)


def test_another_tokenizer_is_another_checksum(clip_folder, clip, tmp_path):
    for file in clip_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    path.write_text(json.dumps(content))
    other = load_clip(tmp_path)
    assert other.sha256 != clip.sha256
    assert np.abs(other.embed_prompts(["a"]) - clip.embed_prompts(["ab"])).max() > 1e-4


def test_what_is_no_clip_is_refused(clip_folder, tmp_path):
    for file in clip_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="is no readable .* vision model"):
        load_clip(tmp_path)


def test_a_score_is_the_share_of_the_first_text_in_the_softmax(clip):
    embedded = clip.embed_images(images(3))
    found = clip.prefers_first(embedded, CONTRASTS)
    for image, texts, score in zip(embedded, CONTRASTS, found, strict=True):
        odds = np.exp([clip.temperature * float(image @ clip.embed_prompts([t])[0]) for t in texts])
        assert score == pytest.approx(odds[0] / odds.sum(), rel=1e-4)
    assert np.ptp(found) > 0.01


def test_equal_contrasts_are_those_of_a_single_question(clip):
    embedded = clip.embed_images(images())
    found = clip.prefers_first(embedded, [("good", "bad")] * 5)
    np.testing.assert_allclose(found, prompt_quality(clip, embedded, ("good", "bad")), rtol=1e-5)
