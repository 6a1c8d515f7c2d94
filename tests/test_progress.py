"""A bar says how far it is on a terminal, and nothing elsewhere."""

from __future__ import annotations

import pytest

from efface.progress import Bar


def advanced(monkeypatch: pytest.MonkeyPatch, terminal: bool, hidden: bool) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1" if terminal else "0")
    with Bar("sampling", total=4, done=1, unit="images", hidden=hidden) as bar:
        bar.advance(2, note="loss 0.5")
        bar.advance()


@pytest.mark.parametrize(("terminal", "hidden"), [(False, False), (True, True)])
def test_it_is_silent_where_nobody_looks(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    terminal: bool,
    hidden: bool,
) -> None:
    advanced(monkeypatch, terminal, hidden)
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.strip() == ""


def test_it_counts_from_where_it_went_on_and_keeps_the_last_note(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    advanced(monkeypatch, terminal=True, hidden=False)
    printed = capsys.readouterr()
    assert printed.out == ""  # what a command prints can be piped
    assert all(part in printed.err for part in ("sampling", "4/4", "loss 0.5"))
