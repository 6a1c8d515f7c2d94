"""Signatures of packs: by a key, over every byte, and only with the extra `sign`."""

from __future__ import annotations

import base64
import importlib
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from efface.errors import RequestError
from efface.evidence.compare import Check
from efface.evidence.signing import check_signature, read_signer, sign, signature_of
from tests.reporting.full_runs import write_class_run

INSTALLED = importlib.util.find_spec("model_signing") is not None
needs_extra = pytest.mark.skipif(not INSTALLED, reason="needs the extra `sign`")
needs_none = pytest.mark.skipif(INSTALLED, reason="the extra `sign` is installed")


def write_keys(folder: Path, curve: str = "SECP256R1") -> tuple[Path, Path]:
    ec = importlib.import_module("cryptography.hazmat.primitives.asymmetric.ec")
    s = importlib.import_module("cryptography.hazmat.primitives.serialization")
    key = ec.generate_private_key(getattr(ec, curve)())
    folder.mkdir()
    private, public = folder / "key.pem", folder / "key.pub"
    private.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
    public.write_bytes(
        key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return write_keys(tmp_path / "keys")


@pytest.fixture
def pack(keys: tuple[Path, Path], tmp_path: Path) -> Path:
    path = tmp_path / "evidence.zip"
    path.write_bytes(b"a pack")
    assert sign(path, read_signer(keys[0])) == signature_of(path) == tmp_path / "evidence.zip.sig"
    return path


def is_bad(check: Check) -> bool:
    return check.looked and not check.good and check.subject == "signature"


@needs_extra
def test_a_signature_holds_for_its_pack_and_key_alone(pack, keys, tmp_path):
    assert check_signature(pack, keys[1]).good
    _, other = write_keys(tmp_path / "others")
    assert is_bad(check_signature(pack, other))
    assert is_bad(check_signature(pack, tmp_path / "nothing"))
    assert is_bad(check_signature(pack, pack))
    content = pack.read_bytes()
    for at in range(len(content)):
        pack.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert is_bad(check_signature(pack, keys[1]))
    pack.write_bytes(content)
    renamed = pack.rename(tmp_path / "renamed.zip")
    signature_of(pack).rename(signature_of(renamed))
    assert check_signature(renamed, keys[1]).good


@needs_extra
def test_a_signature_without_a_key_to_check_it_is_not_called_right(pack):
    check = check_signature(pack, None)
    assert check.good and not check.looked


@needs_extra
@pytest.mark.parametrize(
    "content",
    [
        b"", b"{}", b"[1]", b"[" * 10**5, b"null", b"\xff", b"1" * 2**21,
        b'{"verificationMaterial": 3}', b'{"verificationMaterial": {"publicKey": {}}}',
    ],
    ids=range(9),
)  # fmt: skip
def test_what_is_no_signature_is_named(pack, keys, content):
    signature_of(pack).write_bytes(content)
    assert is_bad(check_signature(pack, keys[1]))
    signature_of(pack).unlink()
    assert is_bad(check_signature(pack, keys[1]))


@needs_extra
def test_every_forged_part_of_a_signature_is_named(pack, keys):
    bundle = json.loads(signature_of(pack).read_text())
    envelope = bundle["dsseEnvelope"]
    forgeries: list[tuple[dict[str, Any], str, Any]] = [
        (envelope, "signatures", []),
        (envelope, "payload", base64.b64encode(b"{}").decode()),
        (envelope, "payloadType", "text/plain"),
        (envelope["signatures"][0], "sig", base64.b64encode(b"0" * 70).decode()),
        (bundle, "mediaType", "application/json"),
    ]
    for place, name, value in forgeries:
        true = place[name]
        place[name] = value
        signature_of(pack).write_text(json.dumps(bundle))
        assert is_bad(check_signature(pack, keys[1])), name
        place[name] = true
    signature_of(pack).write_text(json.dumps(bundle))
    assert check_signature(pack, keys[1]).good


@needs_extra
def test_a_key_that_cannot_sign_is_one_sentence(keys, tmp_path):
    unfit, _ = write_keys(tmp_path / "unfit", "SECP256K1")
    for key in (unfit, keys[1], tmp_path / "nothing", tmp_path):
        with pytest.raises(RequestError, match="cannot sign"):
            read_signer(key)


@needs_extra
def test_the_commands_sign_and_check(
    label_run: Path, keys: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from efface.cli import app

    def efface(*arguments: object) -> str:
        done = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert done.exit_code == 0, done.output
        return done.output

    out, page = tmp_path / "a.zip", tmp_path / "page.html"
    report = ("report", label_run, "--out", page, "--pack", out)
    assert "signature written to" in efface(*report, "--sign-key", keys[0])
    check = ("verify", out, "--model", label_run, "--metric", "none")
    assert "ok   signature: a.zip.sig was made by key.pub" in efface(
        *check, "--public-key", keys[1]
    )
    assert "--   signature: not checked" in efface(*check)
    efface(*report, "--overwrite")
    assert not signature_of(out).exists()


def test_a_signature_is_of_a_pack(tmp_path: Path, fails: Callable[..., str]) -> None:
    run = write_class_run(tmp_path / "run")
    assert "--pack" in fails("report", run, "--sign-key", tmp_path / "key")


@needs_none
def test_without_the_extra_there_is_one_sentence(tmp_path):
    assert "model_signing" not in sys.modules
    with pytest.raises(RequestError, match=r"pip install 'efface\[sign\]'"):
        read_signer(tmp_path / "key")
    with pytest.raises(RequestError, match=r"pip install 'efface\[sign\]'"):
        check_signature(tmp_path / "a.zip", tmp_path / "key")
