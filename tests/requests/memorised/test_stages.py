from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from efface.diffusion.denoiser import Condition
from efface.errors import DataError, RequestError
from efface.requests.memorised.sampling import PromptSampler
from efface.requests.memorised.searching import Tried
from efface.requests.memorised.settings import MemorisedSettings
from efface.requests.memorised.similarity import PIXELS
from efface.requests.memorised.stages import Modified, Preparer, Stages, read_prepared

MakePreparer = Callable[..., Preparer]


@pytest.fixture
def make_preparer(
    sampler: PromptSampler,
    prompt: str,
    own_settings: Callable[..., MemorisedSettings],
    tmp_path: Path,
) -> MakePreparer:
    def make(*changes: str) -> Preparer:
        short = ("memorised.samples=16", "memorised.noises=2", "memorised.images=40")
        return Preparer(
            stages=Stages(tmp_path),
            sampler=sampler,
            settings=own_settings(*short, *changes),
            prompt=prompt,
            comparison=PIXELS,
        )

    return make


@pytest.mark.parametrize("way", ["tokens", "embedding"])
def test_a_memorised_prompt_is_found_and_modified_and_its_samples_separated(
    make_preparer: MakePreparer, words: list[str], way: str
) -> None:
    """Without hand work, on a model that has memorised one image exactly."""
    # The prompt itself generates too many copies for this band.
    preparer = make_preparer("memorised.copy_band=[0.2, 0.6]", f'memorised.search=["{way}"]')
    detected = preparer.detect(words[:59], None)
    assert detected.detection.is_memorised
    modified = preparer.modify(detected, None)
    assert modified.tried.way == way and modified.count > 1 and not modified.is_original
    assert (modified.tried.text is None) == (way == "embedding")
    assert 0.2 <= modified.tried.share <= 0.6
    sides = preparer.separate(detected, modified)
    copies, others = sides.forget.float(), sides.retain.float()
    assert 0.05 <= len(copies) / 40 <= 0.95
    assert len(copies) + len(others) + sides.undecided == 40
    # Copies are similar to a few grey levels, others are not.
    assert (copies - copies.mean(0)).abs().mean() < 0.3 * (others - others.mean(0)).abs().mean()
    again = make_preparer()
    found = again.modify(again.detect([], None), None)
    kept = again.separate(detected, found)
    assert kept.forget.equal(sides.forget) and kept.retain.equal(sides.retain)
    assert found.tried == modified.tried
    for name, tensor in modified.condition.tensors.items():
        assert tensor.equal(found.condition.tensors[name])


def test_a_search_without_success_is_kept_and_refused_again(
    make_preparer: MakePreparer, words: list[str], tmp_path: Path
) -> None:
    for _ in range(2):
        preparer = make_preparer("memorised.copy_band=[0.985, 0.99]", "memorised.tries=2")
        detected = preparer.detect(words[:59], None)
        with pytest.raises(RequestError, match=r"none of \d.*--modified-prompt.*memorised\.tries"):
            preparer.modify(detected, None)
    tried = json.loads((tmp_path / "preparation" / "modification.json").read_text())["tried"]
    assert tried[0]["way"] == "unchanged" and len(tried) > 2


def test_an_embedding_is_called_what_it_is() -> None:
    tried = Tried(way="embedding", text=None, weight=0.5, norm=1.0, copies=1, images=2)
    assert "no prompt has" in Modified(tried=tried, condition=Condition({}), count=3).called


def test_what_was_prepared_must_be_there_to_measure(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="preparation"):
        read_prepared(tmp_path)
    folder = tmp_path / "preparation"
    folder.mkdir()
    (folder / "detection.json").write_text("[1]")
    with pytest.raises(DataError, match=r"detection\.json.*--overwrite"):
        read_prepared(tmp_path)
