"""A bar on a terminal, a line every half minute elsewhere, and nothing where it is quiet."""

from __future__ import annotations

import pytest

from efface.progress import Bar, Speech, note


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


def test_without_a_terminal_there_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("efface.progress.EVERY", 0.0)
    advanced(monkeypatch, terminal=False, hidden=False)
    first, second = capsys.readouterr().err.strip().splitlines()
    assert first.startswith("efface: sampling: 3 of 4, ") and "loss 0.5" in first
    assert "images/s" in second and "0:00 left" in second


def test_a_quiet_process_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("efface.progress.EVERY", 0.0)
    monkeypatch.setattr("efface.progress.speech", Speech(quiet=True))
    advanced(monkeypatch, terminal=True, hidden=False)
    note("read 3 images")
    assert capsys.readouterr().err == ""
