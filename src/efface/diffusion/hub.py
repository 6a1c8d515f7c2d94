"""Files from the hub, and in words what goes wrong when it is asked (no torch)."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from efface.diffusion.config_files import read_json
from efface.diffusion.text.folder import parts_in
from efface.diffusion.weight_files import DIFFUSERS, TRANSFORMERS, index_name
from efface.errors import EffaceError, ModelError

# What of a component's folder is read beside its weights; a .model file is sentencepiece's, no
# pickle. Nothing else is asked for: offline, the hub's client takes a file that was never
# downloaded for a hole in the model.
DESCRIPTIONS = (
    *("config.json", "scheduler_config.json", "preprocessor_config.json", "processor_config.json"),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt", "spiece.model"),
    *map(index_name, (DIFFUSERS, TRANSFORMERS)),
)
AT_ROOT = ("config.json", "scheduler_config.json", index_name(DIFFUSERS))
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


def download_descriptions(model: str) -> Path:
    """The files that say what a hub model is, of the parts that it names alone."""
    names = ["model_index.json", "adapter_config.json", *AT_ROOT]
    folder = download(model, names, f"{model} is no local folder")
    if not (folder / "model_index.json").exists():
        return folder  # all lies at the root
    index = read_json(folder / "model_index.json", "a diffusers pipeline folder has one")
    parts = [*parts_in(index), *(f"{part}_ema" for part in ("unet", "transformer"))]
    names = [f"{part}/{name}" for part in parts for name in DESCRIPTIONS]
    asked = f"the description of {model} is not whole on this machine"
    return download(model, names, asked, folder.name)


def download(model: str, names: list[str], asked: str, commit: str | None = None) -> Path:
    """Files of a hub model, never code and never pickles; returns the folder.

    `asked` begins the sentence that says that they cannot be had.
    """
    from huggingface_hub import snapshot_download

    with asking_hub(asked, ModelError):
        return Path(snapshot_download(model, allow_patterns=names, revision=commit))


def list_files(model: str, commit: str) -> list[str] | None:
    """Names of all files of a hub model; None where the hub cannot be asked."""
    from huggingface_hub import HfApi

    try:
        return HfApi().list_repo_files(model, revision=commit)
    except hub_errors():
        return None
