"""The commit is that of the checkout that this package is in, if it is in one."""

from __future__ import annotations

from pathlib import Path

import pytest

from efface.benchmark import checkout
from efface.benchmark.checkout import checked_out


def test_the_commit_is_that_of_a_checkout_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    commit = checked_out()
    assert commit is None or len(commit.removesuffix("+changes")) == 40
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert checked_out() is None


def test_a_package_that_is_installed_beside_a_checkout_has_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(checkout, "__file__", str(tmp_path / "checkout.py"))
    assert checked_out() is None
