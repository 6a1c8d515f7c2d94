"""Checks: what they say of a pack cannot harm whoever reads it."""

from __future__ import annotations

from efface.evidence.archive import read_archive, to_zip
from efface.evidence.compare import Verification, agrees, differs, not_checked
from efface.evidence.statements import SUMS
from efface.evidence.verify import verify
from tests.evidence.packs import CHEAP


def test_a_pack_is_good_where_nothing_differs():
    found = Verification(sha256="", checks=(agrees("a", ""), not_checked("b", "not here")))
    assert found.good and not found.differences
    found = Verification(sha256="", checks=(*found.checks, differs("c", "other")))
    assert not found.good and [check.subject for check in found.differences] == ["c"]


def test_names_in_a_pack_cannot_steer_a_terminal(packed, model, tmp_path):
    files = read_archive(packed).files
    more = "00" * 32 + "  \x1b[2J\u202eok  files" + "x" * 10**6 + "\n"
    (tmp_path / "a.zip").write_bytes(to_zip(files | {SUMS: files[SUMS] + more.encode()}))
    (found,) = verify(tmp_path / "a.zip", model, CHEAP).differences
    assert "missing" in found.text
    assert found.subject.isprintable()
    assert len(found.subject) <= 100
