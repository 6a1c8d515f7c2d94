"""Archives: one way to write them, and nothing hostile is read."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import time
import zipfile
from pathlib import Path

import pytest

from efface.errors import DataError, RequestError
from efface.evidence.archive import MODE, read_archive, to_zip, write_archive

FILES = {"SHA256SUMS": b"", "run-1/record.json": b"record", "report.html": b"page"}


def entry(name: str, mode: int = MODE) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.create_system, info.external_attr = 3, mode << 16
    return info


def archive(path: Path, *entries: tuple[zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as written:
        for info, content in entries:
            written.writestr(info, content)
    return path


def test_what_is_written_is_what_is_read(tmp_path):
    digest = write_archive(FILES, tmp_path / "a.zip", overwrite=False)
    read = read_archive(tmp_path / "a.zip")
    assert read.files == FILES
    assert read.canonical
    assert not read.damaged
    assert read.sha256 == digest == hashlib.sha256((tmp_path / "a.zip").read_bytes()).hexdigest()


def test_the_order_of_files_the_time_and_the_time_zone_do_not_change_the_bytes(monkeypatch):
    first = to_zip(FILES)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    later = time.time() + 1e6
    monkeypatch.setattr(time, "time", lambda: later)
    assert to_zip(dict(reversed(FILES.items()))) == first


def test_a_stock_reader_finds_plain_files_of_no_owner_and_no_time():
    with zipfile.ZipFile(io.BytesIO(to_zip(FILES))) as read:
        assert read.testzip() is None
        assert read.namelist() == sorted(FILES)
        for info in read.infolist():
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert stat.filemode(info.external_attr >> 16) == "-rw-r--r--"
            assert info.compress_type == zipfile.ZIP_STORED
            assert (info.extra, info.comment, read.comment) == (b"", b"", b"")


def test_a_file_that_is_there_is_overwritten_only_when_asked(tmp_path):
    out = tmp_path / "a.zip"
    out.write_text("mine")
    with pytest.raises(RequestError, match="nothing there was touched"):
        write_archive(FILES, out, overwrite=False)
    assert out.read_text() == "mine"
    write_archive(FILES, out, overwrite=True)
    assert read_archive(out).files == FILES
    assert os.listdir(tmp_path) == ["a.zip"]


def test_a_broken_link_is_not_written_through(tmp_path):
    (tmp_path / "a.zip").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RequestError, match="exists"):
        write_archive(FILES, tmp_path / "a.zip", overwrite=False)


def test_what_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="cannot be written"):
        write_archive(FILES, tmp_path / "file" / "a.zip", overwrite=False)


@pytest.mark.parametrize(
    "name",
    [
        "../evil", "run-1/../../evil", "/etc/passwd", "C:\\evil", "run-1\\record.json", "run-1/",
        "run-0/record.json", "run-1/samples/../x.png", "run-1/samples/a/b.png", "evil.py",
        "run-1/record.json\x00.png", "run-1/samples/é.png", "./SHA256SUMS", "sha256sums",
        "manifest.json", "schemas/record.json", "run-1/environment.json",
        "run-1/pipeline.json", "run-1/x.intoto.json",
    ],
)  # fmt: skip
def test_names_that_no_pack_has_are_refused(tmp_path, name):
    (tmp_path / "a.zip").write_bytes(archive_bytes(name.encode()))
    with pytest.raises(DataError, match="which no pack of efface has"):
        read_archive(tmp_path / "a.zip")


def archive_bytes(name: bytes) -> bytes:
    """An archive of one empty file with any name at all: zipfile itself would mend some."""
    stand_in = b"x" * len(name)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as written:
        info = entry(stand_in.decode())
        info.flag_bits |= 0x800
        written.writestr(info, b"")
    return buffer.getvalue().replace(stand_in, name)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR, 0])
def test_links_and_devices_are_refused(tmp_path, kind):
    path = archive(tmp_path / "a.zip", (entry("report.html", kind | 0o777), b"/etc/passwd"))
    with pytest.raises(DataError, match="something else than a plain file"):
        read_archive(path)


def test_a_name_given_twice_is_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        path = archive(
            tmp_path / "a.zip", (entry("report.html"), b"one"), (entry("report.html"), b"two")
        )
    with pytest.raises(DataError, match="'report.html' twice"):
        read_archive(path)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    info = entry("report.html")
    info.compress_type = zipfile.ZIP_DEFLATED
    path = archive(tmp_path / "a.zip", (info, bytes(50_000_000)))
    assert path.stat().st_size < 100_000
    with pytest.raises(DataError, match="compressed"):
        read_archive(path)


def test_sizes_that_the_archive_does_not_have_are_refused(tmp_path):
    path = archive(tmp_path / "a.zip", (entry("report.html"), b"page"))
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02")
    for offset in (20, 24):  # stored and full size in the central directory
        content[at + offset : at + offset + 4] = (2**31 - 1).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(DataError, match="more bytes than it has"):
        read_archive(path)


def test_an_encrypted_entry_is_refused(tmp_path):
    path = archive(tmp_path / "a.zip", (entry("report.html"), b"page"))
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="encrypted"):
        read_archive(path)


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive", to_zip(FILES)[:-30]])
def test_what_is_no_archive_is_named(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match="no readable zip archive"):
        read_archive(tmp_path / "a.zip")
    with pytest.raises(DataError, match="no pack at"):
        read_archive(tmp_path)


def test_every_flipped_byte_of_an_archive_is_noticed(tmp_path):
    whole = to_zip(FILES)
    for at in range(len(whole)):
        flipped = bytearray(whole)
        flipped[at] ^= 1
        (tmp_path / "a.zip").write_bytes(flipped)
        try:
            read = read_archive(tmp_path / "a.zip")
        except DataError:
            continue
        changed = read.files != FILES
        assert changed or read.damaged or not read.canonical, f"byte {at}"
