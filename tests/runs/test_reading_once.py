"""A command reads every source and hashes every file of weights once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import efface
from efface import files
from efface.data import images as data_images
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.loading import save_pipeline

SMALL = ["train.steps=2", "train.batch_size=4", "train.checkpoint_every=2"]
SMALL += ["evaluate.baseline_steps=2"]
IMAGES = ["images.samples=12", "images.unseen=10", "images.controls=2", "images.draws=1"]
IMAGES += ["images.likelihood_steps=2"]
LABELS = ["evaluate.forget_samples=10", "evaluate.retain_samples=18"]


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Counter[str]]]:
    """How often each source was read and each file of weights hashed, by name."""
    found: dict[str, Counter[str]] = {"read": Counter(), "hashed": Counter()}
    load, digest = data_images.load_images, hashlib.file_digest

    def loading(source: str, split: str = "train", **how: Any) -> Any:
        found["read"][f"{source} {split}"] += 1
        return load(source, split, **how)

    def hashing(stream: Any, name: str) -> Any:
        if stream.name.endswith(".safetensors"):
            found["hashed"][str(stream.name)] += 1
        return digest(stream, name)

    files._hash_once.cache_clear()
    monkeypatch.setattr(data_images, "load_images", loading)
    monkeypatch.setattr(hashlib, "file_digest", hashing)
    yield found
    files._hash_once.cache_clear()


def assert_once(counted: Counter[str]) -> None:
    assert counted and max(counted.values()) == 1, counted


def test_a_run_on_images_reads_and_hashes_once(
    counts: dict[str, Counter[str]], tiny_unet: Callable[..., Denoiser], tmp_path: Path
) -> None:
    save_pipeline(tiny_unet(conditional=False), tmp_path / "model")
    request = efface.ForgetImages(images="zoo:symbol", retain="digits", unseen="digits")
    out = tmp_path / "run"
    efface.forget(tmp_path / "model", request, out, changes=[*SMALL, *IMAGES])
    assert set(counts["read"]) == {"zoo:symbol train", "digits train", "digits test"}
    assert_once(counts["read"])
    weights = [name for name in counts["hashed"] if "/unet/" in name]
    assert len(weights) == 2  # those of the original model and of the result
    assert_once(counts["hashed"])
    for counted in counts.values():
        counted.clear()
    efface.evaluate(out, changes=["images.samples=14"])
    assert_once(counts["read"])


def test_a_run_on_labels_reads_nothing_and_hashes_once(
    counts: dict[str, Counter[str]], tiny_model: Path, tmp_path: Path
) -> None:
    request, out = efface.ForgetClass(labels=(0,), replacement=(1,)), tmp_path / "run"
    efface.forget(tiny_model, request, out, changes=[*SMALL, *LABELS])
    assert not counts["read"]
    assert len([name for name in counts["hashed"] if "/unet/" in name]) == 2
    assert_once(counts["hashed"])
