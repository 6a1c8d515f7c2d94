"""Every block of Start and Guides runs, block after block, as do the examples.

The blocks of a page share one new folder: `sh` blocks one shell, `python` blocks are scripts.
`sh hub` and `sh gpu` need what a test machine lacks and are skipped; `text` is output, `toml` is
shown.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(page for part in ("start", "guides") for page in (ROOT / "docs" / part).glob("*.md"))
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
FENCE = re.compile(r"^```(?P<language>.*)$")
RUN = {"sh": ["bash", "-euo", "pipefail"], "python": [sys.executable]}
SKIPPED = ("sh hub", "sh gpu")
KNOWN = (*RUN, *SKIPPED, "text", "toml")
MOST_SKIPPED = 5
SECONDS = 600  # of a block, on a busy machine; a page takes about a minute on a free one


@dataclass(frozen=True, kw_only=True)
class Block:
    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page in their order."""
    blocks: list[Block] = []
    opened: tuple[int, str] | None = None
    lines: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = FENCE.match(line)
        if fence is None:
            lines.append(line)
        elif opened is None:
            opened, lines = (number, fence["language"].strip()), []
        else:
            text = "\n".join(lines) + "\n"
            blocks.append(Block(page=page, line=opened[0], language=opened[1], text=text))
            opened = None
    assert opened is None, f"{page}:{opened} is not closed"
    return blocks


def run_block(block: Block, folder: Path) -> None:
    """Run a block in a folder; fail with its text and its output."""
    script = folder / ("block.sh" if block.language == "sh" else "block.py")
    script.write_text(block.text, encoding="utf-8")
    run_script([*RUN[block.language], script.name], folder, f"{block}\n{block.text}")
    script.unlink()


def run_script(command: list[str], folder: Path, shown: str) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "EFFACE_CACHE": str(folder / "cache")}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    if done.returncode != 0:
        pytest.fail(f"{shown}\nended with {done.returncode}:\n{done.stdout[-6000:]}", pytrace=False)


@pytest.mark.guides
@pytest.mark.timeout(SECONDS * 3)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    for block in blocks_of(page):
        if block.language in RUN:
            run_block(block, tmp_path)


@pytest.mark.guides
@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_an_example_runs(example: Path, tmp_path: Path) -> None:
    run_script([sys.executable, str(example)], tmp_path, str(example.relative_to(ROOT)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_fence_has_a_known_language(page: Path) -> None:
    assert [str(block) for block in blocks_of(page) if block.language not in KNOWN] == []


def test_few_blocks_are_skipped() -> None:
    skipped = [str(b) for page in PAGES for b in blocks_of(page) if b.language in SKIPPED]
    assert len(skipped) <= MOST_SKIPPED, skipped


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_do_not_name_a_virtual_environment(page: Path) -> None:
    assert ".venv" not in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_examples_are_short(example: Path) -> None:
    assert len(example.read_text(encoding="utf-8").splitlines()) <= 80
