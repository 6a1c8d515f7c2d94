"""What a verification looked at, and what it found."""

from dataclasses import dataclass

from efface.evaluation.wording import printable

SHOWN = 100  # characters of a name


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at, and what was found."""

    subject: str
    good: bool
    text: str
    looked: bool = True  # False: it could not be, and nothing is said of it


@dataclass(frozen=True, kw_only=True)
class Verification:
    """All that was found; `sha256` is that of the pack itself."""

    sha256: str
    checks: tuple[Check, ...]

    @property
    def good(self) -> bool:
        return all(check.good for check in self.checks)

    @property
    def differences(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.good)


def agrees(subject: str, text: str) -> Check:
    return _check(subject, text, good=True)


def differs(subject: str, text: str) -> Check:
    return _check(subject, text, good=False)


def not_checked(subject: str, text: str) -> Check:
    return _check(subject, text, good=True, looked=False)


def _check(subject: str, text: str, good: bool, looked: bool = True) -> Check:
    """Names come from the pack: nothing in them may steer a terminal or flood it."""
    shown, words = printable(subject[:SHOWN]), printable(text[: 10 * SHOWN])
    return Check(subject=shown, good=good, text=words, looked=looked)
