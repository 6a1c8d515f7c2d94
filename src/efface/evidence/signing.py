"""Signatures of packs by OpenSSF Model Signing, with a key of one's own (extra `sign`).

Keys alone: public transparency logs would tell the world of requests to forget.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from efface.errors import RequestError
from efface.evidence.checks import Check, agrees, differs, not_checked

MAX_BYTES = 2**20  # of a signature


def signature_of(pack: Path) -> Path:
    """Where the signature of a pack lies: a Sigstore bundle, which `model_signing` reads too."""
    return pack.with_name(f"{pack.name}.sig")


def require_signing(pack: Path | None) -> None:
    """Raise RequestError where nothing is to be signed, or there is nothing to sign with."""
    if pack is None:
        raise RequestError("--sign-key signs a pack: give its file with --pack.")
    if importlib.util.find_spec("model_signing") is None:
        raise RequestError("signing needs the package model-signing: pip install 'efface[sign]'.")


def sign(pack: Path, key: Path) -> Path:
    """Sign a pack; returns where its signature lies. RequestError for a key that does not fit."""
    require_signing(pack)
    from model_signing.signing import Config  # pyright: ignore[reportMissingImports]

    try:
        Config().use_elliptic_key_signer(private_key=key).sign(pack, signature_of(pack))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RequestError(
            f"{key} cannot sign: give an unencrypted private key of the curve P-256, P-384 or "
            "P-521 as PEM."
        ) from error
    return signature_of(pack)


def check_signature(pack: Path, key: Path | None) -> Check:
    """The signature beside a pack against the pack's bytes and a public key."""
    path = signature_of(pack)
    if key is None:
        return not_checked("signature", "not checked: give the public key with --public-key")
    require_signing(pack)
    from cryptography.exceptions import InvalidSignature  # pyright: ignore[reportMissingImports]
    from model_signing.verifying import Config  # pyright: ignore[reportMissingImports]

    unfit = (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("it is too large")
        Config().use_elliptic_key_verifier(public_key=key).verify(pack, path)
    except (*unfit, InvalidSignature) as error:
        reason = str(error) or "not made by this key"
        return differs("signature", f"{path.name} does not hold for this pack and key: {reason}")
    return agrees("signature", f"{path.name} was made by {key.name} for this very pack")
