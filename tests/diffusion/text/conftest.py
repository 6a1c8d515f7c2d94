"""Tests of every family of text-to-image models."""

from __future__ import annotations

import pytest

from tests.text_pipelines import KINDS


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param
