"""Signatures of packs by OpenSSF Model Signing, with a key of one's own (extra `sign`).

Keys alone: a public transparency log would tell the world of requests to forget.
"""

import importlib
from pathlib import Path
from typing import Any

from efface.errors import RequestError
from efface.evidence.compare import Check, agrees, differs, not_checked

MAX_BYTES = 2**20  # of a signature
UNFIT = (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError)


def signature_of(pack: Path) -> Path:
    """Where the signature of a pack lies: a Sigstore bundle, which `model_signing` reads too."""
    return pack.with_name(f"{pack.name}.sig")


def read_signer(key: Path) -> Any:
    """What signs by a private key; RequestError for a key that does not fit."""
    config = _library("model_signing.signing").Config()
    try:
        return config.use_elliptic_key_signer(private_key=key)
    except UNFIT as error:
        raise RequestError(
            f"{key} cannot sign: give an unencrypted private key of the curve P-256, P-384 or "
            "P-521 as PEM."
        ) from error


def sign(pack: Path, signer: Any) -> Path:
    """Sign a pack; returns where its signature lies."""
    signer.sign(pack, signature_of(pack))
    return signature_of(pack)


def check_signature(pack: Path, key: Path | None) -> Check:
    """The signature beside a pack against the pack's bytes and a public key."""
    path = signature_of(pack)
    if key is None:
        return not_checked("signature", "not checked: give the public key with --public-key")
    config = _library("model_signing.verifying").Config()
    invalid = _library("cryptography.exceptions").InvalidSignature
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("it is too large")
        config.use_elliptic_key_verifier(public_key=key).verify(pack, path)
    except (*UNFIT, invalid) as error:
        reason = str(error) or "it was not made by this key"
        return differs("signature", f"{path.name} does not hold for this pack and key: {reason}")
    return agrees("signature", f"{path.name} was made by {key.name} for this very pack")


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RequestError(
            "signatures need the extra 'sign': pip install 'efface[sign]'."
        ) from error
