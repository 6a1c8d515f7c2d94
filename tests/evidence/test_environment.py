"""The environment lock: complete, the same every time, and silent about the machine."""

from __future__ import annotations

import importlib.metadata
import platform
import socket
from pathlib import Path

import pydantic

from efface.evidence.environment import (
    current_environment,
    differing_versions,
    write_environment,
)
from efface.evidence.members import parse_record
from efface.records import RunRecord

VERSIONS = {"torch": "2.6", "huggingface_hub": "1.0", "python": "3.11.7"}


def record(versions: dict[str, str]) -> RunRecord:
    return RunRecord(
        status="finished", request={}, model={}, settings={}, versions=versions, hardware={},
        started="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


def test_the_lock_names_what_is_installed_and_python():
    found = current_environment()
    assert found.python == platform.python_version()
    for name in ("torch", "diffusers", "safetensors", "huggingface-hub"):
        assert found.distributions[name] == importlib.metadata.version(name)
    assert list(found.distributions) == sorted(found.distributions)
    assert found == current_environment()


def test_the_lock_holds_no_path_and_no_host(tmp_path):
    write_environment(tmp_path)
    text = (tmp_path / "environment.json").read_text()
    assert "/" not in text
    assert str(Path.home()) not in text
    name = socket.gethostname()
    assert f'"{name}"' not in text
    content = (tmp_path / "environment.json").read_bytes()
    assert parse_record(type(current_environment()), content, "it") == current_environment()


def test_versions_that_contradict_the_record_are_named():
    installed = {"huggingface-hub": "1.0", "torch": "2.6"}
    found = current_environment().model_copy(
        update={"python": "3.11.7", "distributions": installed}
    )
    assert differing_versions(found, record(VERSIONS)) == []
    other = record(VERSIONS | {"torch": "2.7", "numpy": "2.0"})
    assert differing_versions(found, other) == ["torch", "numpy"]


def test_distributions_are_texts_only():
    values = current_environment().model_dump() | {"distributions": {"torch": 2}}
    try:
        type(current_environment()).model_validate(values)
    except pydantic.ValidationError as error:
        assert error.error_count() == 1
    else:
        raise AssertionError("a number passed for a version")
