"""The doctor names what is broken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from efface.cli.doctor import examine


def doctor_with(folder: Path) -> subprocess.CompletedProcess[str]:
    """`efface doctor` in a process that sees `folder` before what is installed."""
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    code = "import sys; sys.argv = ['efface', 'doctor']; from efface.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )


@pytest.fixture
def broken_torchvision(tmp_path) -> Path:
    (tmp_path / "torchvision").mkdir()
    code = 'raise RuntimeError("operator torchvision::nms does not exist")\n'
    (tmp_path / "torchvision" / "__init__.py").write_text(code)
    return tmp_path


def test_a_torchvision_that_does_not_import_is_named(broken_torchvision):
    done = doctor_with(broken_torchvision)
    assert done.returncode == 1, done.stderr
    assert (
        "BAD  torchvision is installed but cannot be imported "
        "(operator torchvision::nms does not exist)" in done.stdout
    )
    assert "pip uninstall torchvision" in done.stdout
    assert "ok   torch " in done.stdout
    assert "Traceback" not in done.stderr


def test_this_installation_is_good():
    findings = examine()
    assert [f.text for f in findings if not f.good] == []
    text = "\n".join(f.text for f in findings)
    for name in ("torch ", "diffusers ", "accelerate ", "runs on ", "extra 'data'"):
        assert name in text


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)  # any import of it raises
    bad = [f.text for f in examine() if not f.good]
    assert len(bad) == 1
    assert bad[0].startswith("accelerate cannot be imported")
