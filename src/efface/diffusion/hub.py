"""What goes wrong when the hub is asked for something, in words (no torch)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from efface.errors import EffaceError

# What comes of an answer of another form: a page of a login or a proxy where JSON was expected.
OTHERWISE = (ValueError, LookupError, TypeError, AttributeError, AssertionError, RuntimeError)


@contextmanager
def asking_hub(asked: str, kind: type[EffaceError]) -> Iterator[None]:
    """Turn what the hub's client raises into one sentence, which begins with what was `asked`."""
    try:
        yield
    except hub_errors() as error:
        raise kind(
            f"{asked} and could not be had from the hub, {reason(error)}: {_remedy(error)}."
        ) from error


@contextmanager
def without_bars() -> Iterator[None]:
    """No bars of the hub's client, for small files that are asked for again and again."""
    from huggingface_hub import utils

    shown = not utils.are_progress_bars_disabled()
    utils.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            utils.enable_progress_bars()


def hub_errors() -> tuple[type[Exception], ...]:
    """What the hub's client raises: its own errors, those of HTTP, and of answers of another form.

    Catch them around a call of the client alone.
    """
    from huggingface_hub.errors import HfHubHTTPError

    # Which library carries HTTP depends on the client's release: requests, httpx or httpx2.
    library = import_module(HfHubHTTPError.__bases__[0].__module__.partition(".")[0])
    return (library.HTTPError, library.InvalidURL, *OTHERWISE, OSError)


def reason(error: BaseException) -> str:
    """Why the hub gave nothing, as the rest of a sentence that names it."""
    from huggingface_hub.errors import (
        FileMetadataError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    if isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        return reason(error.__cause__)
    kinds: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
        ((OfflineModeIsEnabled,), "which is not asked while HF_HUB_OFFLINE is set"),
        ((GatedRepoError,), "where it is gated"),
        ((HFValidationError,), "which has no such names"),
        ((RepositoryNotFoundError,), "which does not have it, or not for everybody"),
        ((HfHubHTTPError,), "which answered with an error"),
        ((LocalEntryNotFoundError, ConnectionError, TimeoutError), "which could not be reached"),
        ((FileMetadataError, *OTHERWISE), "which answered with something else"),
    )
    words = next((words for kind, words in kinds if isinstance(error, kind)), None)
    detail = type(error).__name__
    if type(error) is HfHubHTTPError:
        detail = f"status {error.response.status_code}"
    elif isinstance(error, OSError) and error.strerror:
        words, detail = words or "whose files could not be kept here", error.strerror
    elif isinstance(error, OSError):
        words = words or "which gave nothing that can be read"
    return f"{words or 'which could not be reached'} ({detail})"


def _remedy(error: BaseException) -> str:
    from huggingface_hub.errors import GatedRepoError

    if isinstance(error, GatedRepoError):
        return (
            "accept its terms on its page, log in with `hf auth login`, or give a folder that it "
            "was downloaded to"
        )
    return "check the name and the network, or download it first"
