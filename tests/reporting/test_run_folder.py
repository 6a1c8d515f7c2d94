"""What is read of a run folder: grids that do not fit, images that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from efface.errors import DataError
from efface.reporting.run_folder import read_run
from tests.reporting.conftest import RunMaker
from tests.reporting.image_runs import write_image_run


@pytest.mark.parametrize("content", [b"<svg onload='alert(1)'/>", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_what_is_no_png_is_refused(make_run: RunMaker, content: bytes):
    run = make_run()
    (run / "samples" / "after.png").write_bytes(content)
    with pytest.raises(DataError, match="no sound PNG"):
        read_run(run)


def test_a_wrong_grid_is_refused(make_run: RunMaker):
    run = make_run()
    (run / "samples" / "grid.json").write_text('{"labels": [1]}', encoding="utf-8")
    with pytest.raises(DataError, match="does not describe the images"):
        read_run(run)


@pytest.mark.parametrize("cells", [[80], [-1]])
def test_a_copy_outside_the_grid_is_refused(tmp_path: Path, cells: list[int]):
    with pytest.raises(DataError, match="does not describe the images"):
        read_run(write_image_run(tmp_path / "run", copies_after=cells))


@pytest.mark.parametrize("size", [(2, 2), (95, 32), (96, 40)])
def test_rows_of_another_shape_are_refused(tmp_path: Path, size: tuple[int, int]):
    run = write_image_run(tmp_path / "run")
    Image.new("RGB", size).save(run / "samples" / "images.png")
    with pytest.raises(DataError, match="square images wide"):
        read_run(run)
