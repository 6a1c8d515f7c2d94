"""Who may import whom, and what stays light."""

from __future__ import annotations

import ast
import graphlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "efface"
# From the bottom up; those that stand on one floor do not import each other.
ORDER = (
    ("errors",),
    ("files", "progress"),
    ("records",),
    ("diffusion",),
    ("data",),
    ("methods", "metrics"),
    ("training",),
    ("settings",),
    ("memory",),
    ("evaluation", "attacks"),
    ("requests",),
    ("reporting",),
    ("evidence",),
    ("runs",),
    ("zoo", "benchmark"),
    ("cli",),
    ("", "__main__"),  # the package itself, which imports lazily
)
FLOOR = {name: floor for floor, names in enumerate(ORDER) for name in names}
TORCH_FREE = ("efface", "efface.cli", "efface.errors", "efface.records", "efface.requests")
TORCH_FREE += ("efface.diffusion.model_folder", "efface.reporting", "efface.evidence.pack")
TORCH_FREE += ("efface.runs.early", "efface.runs.place", "efface.runs.listing")
TORCH_FREE += ("efface.metrics", "efface.runs.compare", "efface.files", "efface.metrics.intervals")
TORCH_FREE += ("efface.benchmark.file",)
TORCH_FREE += ("efface.settings.reading", "efface.settings.listing", "efface.settings.evaluate")
MODULES = sorted(
    ".".join(("efface", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
    if path.name != "__main__.py"
)


def imported(path: Path) -> set[str]:
    """Modules that a file names in an import, also inside functions, as dotted names."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def loaded_by(module: str) -> set[str]:
    """Modules of ours that are imported as soon as a module is, not from within its functions.

    With a module come the packages that it lies in; a module's own were there before it.
    """
    path = SOURCE.joinpath(*module.split(".")[1:])
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    names: set[str] = set()
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    for name in list(names):
        parts = name.split(".")
        names |= {".".join(parts[:n]) for n in range(1, len(parts))}
    own = {module, *(module.rsplit(".", n)[0] for n in range(1, module.count(".") + 1))}
    return names & set(MODULES) - own


def python(code: str) -> str:
    """Run code in a fresh interpreter; returns what it prints."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def part_of(module: str) -> str:
    """The folder or module of the root that a module belongs to; "" for the package itself."""
    return module.split(".")[1] if "." in module else ""


def runtime_imports(path: Path) -> set[str]:
    """Modules of ours that a file imports when it runs: all but those for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] == "efface"}


def source_of(module: str) -> Path:
    path = SOURCE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def test_every_folder_has_a_place_in_the_order():
    parts = {part_of(module) for module in MODULES}
    assert parts <= FLOOR.keys(), f"without a place: {sorted(parts - FLOOR.keys())}"
    assert FLOOR.keys() - parts <= {"__main__"}


@pytest.mark.parametrize("module", MODULES)
def test_every_arrow_points_down(module):
    own = part_of(module)
    if own == "":
        return  # the package names its public functions, and imports them when they are used
    for name in runtime_imports(source_of(module)):
        other = part_of(name) if name != "efface.__version__" else own
        assert other == own or FLOOR[other] < FLOOR[own], f"{module} imports {name}"


def test_the_root_is_small():
    root = sorted(path.name for path in SOURCE.glob("*.py"))
    assert len(root) <= 6, root


def test_the_walk_sees_imports_of_every_form(tmp_path):
    file = tmp_path / "x.py"
    file.write_text(
        "import efface.cli\nfrom efface import runs\nfrom efface.data.batch import Batch\n"
        "def f():\n    from efface.methods import names\n"
        "    import torch.nn as n, efface.runs.demo\n"
    )
    names = imported(file)
    assert {part_of(name) for name in names if name.startswith("efface")} == {
        *("cli", "runs", "data", "methods"),
    }
    assert "torch.nn" in names


def test_methods_know_nothing_of_files_optimizers_or_logs():
    for file in sorted((SOURCE / "methods").glob("*.py")):
        heavy = {name.split(".")[0] for name in imported(file)}
        assert not heavy & {"accelerate", "pathlib", "os", "json", "logging", "diffusers"}, file
        assert not any(name.startswith("torch.optim") for name in imported(file)), file


def test_light_modules_do_not_import_torch():
    """One after the other: the first that does is named."""
    code = f"""
import importlib, sys
for module in {TORCH_FREE!r}:
    importlib.import_module(module)
    assert not {{"torch", "diffusers"}} & sys.modules.keys(), module
"""
    python(code)


def test_help_does_not_import_torch():
    code = """
import sys
from typer.testing import CliRunner
from efface.cli import app
commands = "", "preflight", "sample", "forget", "forget class", "forget concept", "forget memorised"
for command in commands:
    arguments = [*command.split(), "--help"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0 and "Usage" in done.output, done.output
print([m for m in ("torch", "diffusers", "numpy") if m in sys.modules])
"""
    assert python(code).strip() == "[]"


def test_no_module_imports_itself_by_way_of_others():
    """Without such a circle every module can be imported first."""
    needs = {module: loaded_by(module) for module in MODULES}
    graphlib.TopologicalSorter(needs).prepare()  # raises CycleError, which names the circle


@pytest.mark.slow
def test_every_module_can_be_imported_first():
    code = f"""
import importlib, sys
modules = {MODULES!r}
for module in modules:  # each on its own
    for name in [m for m in sys.modules if m.split(".")[0] == "efface"]:
        del sys.modules[name]
    importlib.import_module(module)
print(len(modules))
"""
    assert python(code).strip() == str(len(MODULES))
