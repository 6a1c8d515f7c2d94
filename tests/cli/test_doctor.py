"""The doctor names what is broken."""

from __future__ import annotations

import importlib.metadata
import sys

from typer.testing import CliRunner

from efface.cli import app
from efface.cli.doctor import doctor


def test_a_torchvision_that_does_not_import_is_named(tmp_path, monkeypatch):
    (tmp_path / "torchvision").mkdir()
    code = 'raise RuntimeError("operator torchvision::nms does not exist")\n'
    (tmp_path / "torchvision" / "__init__.py").write_text(code)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1, done.output
    assert (
        "BAD  torchvision is installed but cannot be imported "
        "(operator torchvision::nms does not exist)" in done.output
    )
    assert "pip uninstall torchvision" in done.output
    assert "ok   torch " in done.output
    assert isinstance(done.exception, SystemExit)


def test_this_installation_is_good():
    findings = doctor()
    assert [f.text for f in findings if not f.good] == []
    text = "\n".join(f.text for f in findings)
    for name in ("torch ", "diffusers ", "accelerate ", "runs on ", "extra 'data'"):
        assert name in text


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)  # any import of it raises
    bad = [f.text for f in doctor() if not f.good]
    assert len(bad) == 1
    assert bad[0].startswith("accelerate cannot be imported")


def test_every_extra_is_named_with_what_it_lacks(monkeypatch):
    there = {"datasets": "3.0", "onnxruntime": "1.32.0"}

    def version(name: str) -> str:
        if name not in there:
            raise importlib.metadata.PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    said = {f.text for f in doctor() if f.text.startswith("extra")}
    assert "extra 'onnx': installed" in said
    assert any("'data': datasets is 3.0 and must be >=4.0" in text for text in said)
    assert any("'sign': model-signing is missing, pyopenssl is missing" in text for text in said)
    assert not any("'dev'" in text or "'docs'" in text for text in said)
