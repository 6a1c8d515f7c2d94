"""The demonstration replaces nothing unasked."""

from __future__ import annotations

from pathlib import Path

import pytest

from efface.errors import RequestError
from efface.runs.demo import demo


@pytest.mark.parametrize("name", ["class", "images"])
def test_either_run_that_is_there_is_kept(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "record.json").write_text("{}")
    with pytest.raises(RequestError, match=f"{name} exists: add --overwrite"):
        demo(tmp_path, overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "record.json").read_text() == "{}"
