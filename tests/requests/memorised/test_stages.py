"""The stages before a memorised picture is forgotten, and what stops forgetting it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from efface.errors import RequestError
from efface.metrics.copy_similarity import pixels
from efface.requests.memorised.sampling import Drawing, to_unit
from efface.requests.memorised.searching import Tried
from efface.requests.memorised.settings import MemorisedConfig
from efface.requests.memorised.similarity import CopyDetector, load_features
from efface.requests.memorised.stages import Modified, Preparer, Stages
from efface.requests.memorised.stopping import CopyStopper
from efface.settings.reading import read_settings
from tests.requests.memorised.conftest import PROMPT, WORDS

RECIPES = Path(__file__).parents[3] / "recipes"


def make_preparer(drawing: Drawing, folder: Path, *changes: str) -> Preparer:
    changes = (
        "memorised.samples=8", "memorised.search_images=16", "memorised.noises=2",
        "memorised.images=40", *changes,
    )  # fmt: skip
    config = read_settings("siss", None, changes).memorised
    features = load_features(config.extractor, config.extractor_sha256, torch.device("cpu"))
    return Preparer(
        stages=Stages(folder), drawing=drawing, config=config, prompt=PROMPT, features=features
    )


def test_the_embedding_is_descended_first_and_recipes_of_words_say_so() -> None:
    assert MemorisedConfig().search == ("embedding", "tokens")
    for name in ("scenes", "memorised"):
        settings = read_settings(None, RECIPES / f"{name}-siss.toml")
        assert settings.memorised.search == ("tokens", "embedding")


@pytest.mark.parametrize("way", ["tokens", "embedding"])
def test_a_memorised_prompt_is_found_loosened_and_its_pictures_parted(
    drawing: Drawing, tmp_path: Path, way: str
) -> None:
    """Without hand work, on a model that has memorised one picture exactly."""
    # The prompt as it is draws too many copies for this band.
    narrow = ("memorised.most_share=0.6", f'memorised.search=["{way}"]')
    preparer = make_preparer(drawing, tmp_path, *narrow)
    detected = preparer.detect(WORDS[:59], None)
    assert detected.detection.is_memorised
    modified = preparer.modify(detected, None)
    assert modified.tried.way == way and modified.count > 1
    assert (modified.tried.text is None) == (way == "embedding")
    assert 0.2 <= modified.tried.share <= 0.6
    images, separation = preparer.separate(detected, modified)
    assert 0.05 <= separation.count / len(images) <= 0.95
    copies = images[torch.from_numpy(separation.memorised)].float()
    others = images[~torch.from_numpy(separation.memorised)].float()
    # Copies are alike to a few grey levels, others are not.
    assert (copies - copies.mean(0)).abs().mean() < 0.3 * (others - others.mean(0)).abs().mean()
    again = make_preparer(drawing, tmp_path)
    found = again.modify(again.detect([], None), None)
    assert found.tried == modified.tried
    for name, tensor in modified.condition.tensors.items():
        assert tensor.equal(found.condition.tensors[name])


def test_a_search_without_success_is_kept_and_told_again(drawing: Drawing, tmp_path: Path) -> None:
    narrow = ("memorised.least_share=0.985", "memorised.most_share=0.99", "memorised.tries=2")
    for _ in range(2):
        preparer = make_preparer(drawing, tmp_path, *narrow)
        detected = preparer.detect(WORDS[:59], None)
        with pytest.raises(RequestError, match=r"none of \d changed prompts .* --modified-prompt"):
            preparer.modify(detected, None)
    tried = json.loads((tmp_path / "preparation" / "modification.json").read_text())["tried"]
    assert tried[0]["way"] == "as it is" and len(tried) > 2


def test_a_stopper_looks_at_every_prompt(drawing: Drawing) -> None:
    prompts = drawing.denoiser.encode(["a red bag", "a cat"])
    own = to_unit(drawing.of(prompts[1:], range(3), "own"))
    other = CopyDetector(reference=torch.rand(own.shape[1:]), threshold=0.999, features=pixels)
    stopper = CopyStopper(
        detector=other, prompts=prompts, sampler=drawing.sampler, seeds=range(3), batch_size=4
    )
    assert stopper.check(drawing.denoiser) == "none of 6 pictures of its prompts is a copy"
    for picture in own:  # one copy, under the second prompt, is enough to go on
        detector = replace(other, reference=picture)
        assert replace(stopper, detector=detector).check(drawing.denoiser) is None


def test_a_check_ends_at_the_first_copy(drawing: Drawing) -> None:
    """Batches after the first that holds a copy are not drawn."""
    prompts = drawing.denoiser.encode(["a red bag", "a cat"])
    own = to_unit(drawing.of(prompts[:1], range(1), "own"))
    seen = []
    features = lambda images: (seen.append(len(images)), pixels(images))[1]  # noqa: E731
    detector = CopyDetector(reference=own[0], threshold=0.999, features=features)
    stopper = CopyStopper(
        detector=detector, prompts=prompts, sampler=drawing.sampler, seeds=range(6), batch_size=4
    )
    assert stopper.check(drawing.denoiser) is None
    assert seen == [5]  # four pictures and the reference
    never = replace(detector, threshold=1.1)
    assert replace(stopper, detector=never).check(drawing.denoiser) is not None
    assert seen == [5, 5, 5, 5]


def test_an_embedding_is_called_what_it_is() -> None:
    tried = Tried(way="embedding", text=None, weight=0.5, norm=1.0, copies=1, images=2)
    modified = Modified(tried=tried, condition=None, count=3)  # pyright: ignore
    assert "no prompt has" in modified.called
