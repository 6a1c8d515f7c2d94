"""The page about runs and, where asked for, their evidence in one archive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from efface.errors import RequestError
from efface.evidence.archive import require_new
from efface.evidence.model_card import write_model_card
from efface.evidence.pack import pack as write_pack
from efface.evidence.signing import read_signer, sign, signature_of
from efface.reporting import require_replaceable, write_report


@dataclass(frozen=True, kw_only=True)
class Reported:
    """What was written: the page, and None for what was not asked for."""

    page: Path
    model_cards: tuple[Path, ...] = ()
    pack: Path | None = None
    sha256: str | None = None  # of the pack
    signature: Path | None = None


def report(
    runs: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    pack: str | Path | None = None,
    wording: str | None = None,
    sign_key: str | Path | None = None,
    overwrite: bool = False,
) -> Reported:
    """Write one self-contained HTML page about one run or several, by default into the first.

    `pack` is a zip file to write all evidence to, `sign_key` the private key (PEM) that signs it,
    `wording` what was forgotten in the words of the model cards; `overwrite` replaces a pack.
    Raises an EffaceError before anything is written where that is possible.
    """
    folders = [Path(run) for run in ([runs] if isinstance(runs, str | Path) else runs)]
    if not folders:
        raise RequestError("no run was given to report on: give the folder of at least one.")
    page = Path(out or folders[0] / "report.html")
    require_replaceable(page, folders)
    archive = None if pack is None else Path(pack)
    if sign_key is not None and archive is None:
        raise RequestError("--sign-key signs a pack: give its file with --pack.")
    if archive is not None:
        require_new(archive, overwrite)
        if sign_key is not None:
            require_new(signature_of(archive), overwrite)
    signer = None if sign_key is None else read_signer(Path(sign_key))
    cards = () if wording is None else tuple(write_model_card(run, wording) for run in folders)
    digest = signature = None
    if archive is not None:
        if overwrite:  # it was of the pack that is replaced
            signature_of(archive).unlink(missing_ok=True)
        digest = write_pack(folders, archive, overwrite)
        signature = None if signer is None else sign(archive, signer)
    return Reported(
        page=write_report(folders, page),
        model_cards=cards,
        pack=archive,
        sha256=digest,
        signature=signature,
    )
