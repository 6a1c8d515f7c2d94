"""What a run may start from."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import diffusers
import pytest

import efface
from efface.diffusion.model_folder import inspect_model
from efface.errors import RequestError
from efface.runs.lineage import check_start, describe_start
from efface.settings.reading import read_settings
from tests.conftest import BAG, SMALL
from tests.hubs import hub, serving


@pytest.mark.parametrize("kind", ["sd", "sd3"])
def test_a_generator_written_by_another_diffusers_is_of_the_same_network(
    kind: str, pipelines: Callable[[str], Path], tmp_path: Path
) -> None:
    """Which named fewer settings in its files, or some that are no longer there."""
    base, settings = pipelines(kind), read_settings("sfd")
    info = inspect_model(base)
    shutil.copytree(base, tmp_path / "generator")
    file = tmp_path / "generator" / info.component / "config.json"
    written = json.loads(file.read_text())
    taken = inspect.signature(getattr(diffusers, info.network_class)).parameters
    defaults = {n: json.loads(json.dumps(p.default)) for n, p in taken.items()}
    fewer = {n: v for n, v in written.items() if n not in defaults or v != defaults[n]}
    assert len(fewer) < len(written)
    older = fewer | {"_diffusers_version": "0.6.0", "gone_since": True}
    file.write_text(json.dumps(older))
    generator = inspect_model(tmp_path / "generator")
    for start, model in ((generator, info), (info, generator)):
        check_start(start.folder, model, settings)
        described = describe_start(start.folder, model)
        assert described["request"] == {"kind": "generator", "source": str(start.folder)}
    file.write_text(json.dumps(older | {"sample_size": 16}))
    with pytest.raises(RequestError, match="generator is not made like that of"):
        check_start(generator.folder, info, settings)


def test_a_wrong_start_is_found_before_the_model_is_fetched(
    pipelines: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = shutil.copytree(pipelines("sd"), tmp_path / "other")
    file = other / "unet" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"sample_size": 16}))
    sent: list[str] = []
    with (
        hub(serving(pipelines("sd"), sent), tmp_path / "cache", monkeypatch),
        pytest.raises(RequestError, match="other is not made like that of acme/tiny"),
    ):
        efface.forget(
            "acme/tiny",
            BAG,
            tmp_path / "out",
            changes=SMALL,
            start=other,
        )
    assert sent and not [name for name in sent if name.endswith(".safetensors")]
