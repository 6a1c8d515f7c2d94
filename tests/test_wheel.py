"""The wheel alone: README's shell and Python run literally, in an empty folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS = 2400  # a quarter of an hour on two quiet cores, with the installation


def run(command: list[str], folder: Path, path: str | None = None) -> str:
    """Run a command outside of the repository; fail with what it said."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        command,
        cwd=folder,
        env=kept | ({} if path is None else {"PATH": path}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"{command} ended with {done.returncode}:\n{done.stdout[-6000:]}")
    return done.stdout


def install(wheel: Path, python: Path, folder: Path) -> None:
    """Install the wheel with what it requires, as the Makefile does: by uv, or else by pip."""
    given = ["--quiet", "--constraint", str(ROOT / "constraints.txt"), str(wheel)]
    quick = [sys.executable, "-m", "uv", "pip", "install", "--python", str(python), *given]
    if subprocess.run(quick, cwd=folder, check=False, capture_output=True).returncode:
        run([str(python), "-m", "pip", "install", *given], folder)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    run([*build, str(out), str(ROOT)], out)
    return next(out.glob("*.whl"))


@pytest.mark.guides
@pytest.mark.timeout(SECONDS)
def test_the_commands_of_the_readme_run_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    home, folder = tmp_path / "venv", tmp_path / "empty"
    folder.mkdir()
    run([sys.executable, "-m", "venv", str(home)], tmp_path)
    install(wheel, home / "bin" / "python", tmp_path)
    path = os.pathsep.join([str(home / "bin"), os.environ["PATH"]])
    assert str(home) in (shutil.which("efface", path=path) or "")
    blocks = BLOCK.findall(README)
    for language, text in blocks:
        if not text.startswith("make "):
            command = ["bash", "-euo", "pipefail", "-c"] if language == "sh" else ["python", "-c"]
            run([*command, text], folder, path)
    assert {language for language, _ in blocks} == {"sh", "python"}
    assert (folder / "runs" / "no-zero" / "report.html").exists()


@pytest.mark.guides
def test_the_wheel_holds_recipes_types_and_models_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    recipes = {path.name for path in (ROOT / "recipes").glob("*.toml")}
    assert {f"efface/recipes/{name}" for name in recipes} <= set(names)
    assert {"efface/py.typed", "efface/zoo/digits/model_index.json"} <= set(names)
    assert not [name for name in names if name.startswith(("tests", "docs", "benchmarks"))]


def test_the_readme_is_short_and_has_something_to_run() -> None:
    assert len(README.splitlines()) <= 120
    assert {language for language, _ in BLOCK.findall(README)} == {"sh", "python"}
