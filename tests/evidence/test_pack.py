"""Packs: same run, same bytes; complete; nothing from outside the run folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import zipfile

import pytest

from efface.errors import DataError, RequestError
from efface.evidence.pack import pack
from efface.records import (
    Attacks,
    read_record,
    write_json,
)
from tests.evidence.packs import change, contents

WEIGHTS = "pipeline/unet/diffusion_pytorch_model.safetensors"


def test_a_pack_holds_all_that_a_run_claims(label_run, image_run, tmp_path):
    pack([label_run], tmp_path / "labels.zip")
    pack([image_run], tmp_path / "images.zip")
    common = {f"run-1/{n}.json" for n in ("record", "evaluation")}
    common |= {f"run-1/{n}.intoto.json" for n in ("provenance", "evaluation")}
    common |= {"SHA256SUMS", "report.html", "run-1/metrics.jsonl", "run-1/samples/grid.json"}
    common |= {"run-1/samples/before.png", "run-1/samples/after.png"}
    assert contents(tmp_path / "labels.zip").keys() == common
    extra = {"run-1/samples/images.png"}
    assert contents(tmp_path / "images.zip").keys() == common | extra
    for name in ("record.json", "evaluation.json", "metrics.jsonl", "samples/after.png"):
        packed = contents(tmp_path / "labels.zip")[f"run-1/{name}"]
        assert packed == (label_run / name).read_bytes()


def test_the_sums_are_those_that_coreutils_check(label_run, tmp_path):
    pack([label_run], tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        archive.extractall(tmp_path / "a")
    files = [path for path in (tmp_path / "a").rglob("*") if path.is_file()]
    check = ["sha256sum", "--strict", "--check", "SHA256SUMS"]
    done = subprocess.run(check, cwd=tmp_path / "a", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": OK\n") == len(files) - 1  # all but itself
    (tmp_path / "a" / "report.html").write_text("another page")
    assert subprocess.run(check, cwd=tmp_path / "a", capture_output=True).returncode == 1


def test_the_same_run_gives_the_same_bytes_wherever_it_lies(label_run, tmp_path):
    elsewhere = shutil.copytree(label_run, tmp_path / "another name" / "copy")
    for n, path in enumerate(sorted(elsewhere.rglob("*"))):
        os.utime(path, (n, n))
        path.chmod(0o700)
    first = pack([label_run], tmp_path / "a.zip")
    second = pack([elsewhere], tmp_path / "b.zip")
    assert first == second
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_nothing_in_a_pack_tells_where_the_run_lay(label_run, image_run, tmp_path):
    pack([label_run, image_run], tmp_path / "a.zip")
    content = (tmp_path / "a.zip").read_bytes()
    for run in (label_run, image_run):
        assert str(run).encode() not in content
    assert b"a-name-of-the-owner" not in content
    # The owner gave the model and the images by these paths: as written, and nothing else.
    given = {read_record(label_run).model["source"], read_record(image_run).model["source"]}
    given.add(read_record(image_run).request["images"])
    root = os.path.commonpath([label_run, image_run, *given]).encode()
    found = re.findall(re.escape(root) + rb"[\w./-]*", content)
    assert {path.decode() for path in found} <= given


def test_several_runs_go_into_one_pack(label_run, image_run, tmp_path):
    pack([label_run, image_run], tmp_path / "a.zip")
    files = contents(tmp_path / "a.zip")
    assert files["run-2/record.json"] == (image_run / "record.json").read_bytes()
    subjects = [json.loads(files[f"run-{n}/provenance.intoto.json"])["subject"] for n in (1, 2)]
    assert subjects[0] != subjects[1]


@pytest.mark.parametrize("name", ["record.json", "samples/after.png", "samples", "metrics.jsonl"])
def test_a_link_out_of_the_run_folder_is_refused(copied, tmp_path, name):
    moved = tmp_path / "outside"
    (copied / name).rename(moved)
    (copied / name).symlink_to(moved)
    with pytest.raises(RequestError, match=r"is a link .* lead out of the run folder"):
        pack([copied], tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()


def test_a_link_in_the_pipeline_is_refused(copied, tmp_path):
    (copied / "pipeline" / "more.json").symlink_to(tmp_path / "nothing")
    with pytest.raises(RequestError, match=r"more\.json is a link"):
        pack([copied], tmp_path / "a.zip")


@pytest.mark.parametrize("name", ["../../secret.safetensors", "/etc/secret", "a\\..\\b"])
def test_a_weight_file_outside_the_run_folder_is_refused(copied, tmp_path, name):
    change(copied / "record.json", output={name: "00" * 32})
    with pytest.raises(RequestError, match="leaves the folder"):
        pack([copied], tmp_path / "a.zip")


def test_an_image_with_a_strange_name_is_refused(copied, tmp_path):
    (copied / "samples" / "a b\n.png").write_bytes(b"")
    with pytest.raises(RequestError, match="name that cannot go into a pack"):
        pack([copied], tmp_path / "a.zip")


def test_weights_that_the_run_did_not_write_are_refused(copied, tmp_path):
    content = bytearray((copied / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (copied / WEIGHTS).write_bytes(content)
    with pytest.raises(RequestError, match="is not what this run wrote"):
        pack([copied], tmp_path / "a.zip")


def test_attacks_on_other_weights_are_refused(copied, tmp_path):
    write_json(copied / "attacks.json", Attacks(output={"unet/x.safetensors": "00"}, results=[]))
    with pytest.raises(RequestError, match="about other weights"):
        pack([copied], tmp_path / "a.zip")
    write_json(copied / "attacks.json", Attacks(output=read_record(copied).output, results=[]))
    pack([copied], tmp_path / "a.zip")
    assert "run-1/attacks.json" in contents(tmp_path / "a.zip")


def test_a_run_that_is_not_finished_or_measured_is_refused(copied, tmp_path):
    change(copied / "record.json", status="running")
    with pytest.raises(RequestError, match="is not finished"):
        pack([copied], tmp_path / "a.zip")
    (copied / "evaluation.json").unlink()
    with pytest.raises(RequestError, match="efface evaluate"):
        pack([copied], tmp_path / "a.zip")
    with pytest.raises(RequestError, match="is no run of efface"):
        pack([tmp_path / "nothing"], tmp_path / "a.zip")
    with pytest.raises(RequestError, match="no run was given"):
        pack([], tmp_path / "a.zip")


def test_a_broken_image_is_named(copied, tmp_path):
    (copied / "samples" / "after.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"after\.png is no sound PNG"):
        pack([copied], tmp_path / "a.zip")
