"""Whatever is read, a user's mistake or somebody's malice is one sentence and no traceback.

The fast suite tries a few cases of each kind, the slow one 20,000 in all.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from efface.diffusion.loading import load
from efface.diffusion.model_folder import inspect_model, sample_shape
from efface.evidence.archive import to_zip
from efface.evidence.model_card import write_model_card
from efface.evidence.pack import pack
from efface.evidence.verify import verify
from efface.records import read_record, write_json
from efface.reporting import judge_run, write_report
from efface.reporting.run_folder import read_run
from efface.requests import kinds, sections
from efface.runs.compare import as_json, as_tables, compare, write_comparison
from efface.runs.folder import check_folder
from efface.runs.lineage import check_start, describe_start
from efface.runs.plan import settings_of
from efface.runs.recorded import read_run as read_recorded
from efface.settings.base import Settings, read_settings
from efface.training.checkpoint import Checkpoints, ModuleState, OptimizerState, Progress
from efface.training.trainer import Tracking
from efface.zoo.build.settings import read_build_settings
from tests.evidence.packs import contents
from tests.fuzzing import changed, damaged, file_of, is_ours, written
from tests.reporting.full_runs import make_attack, make_attacks, write_class_run
from tests.reporting.image_runs import make_image_evaluation, make_image_record, write_image_run
from tests.reporting.prompt_runs import (
    make_concept_evaluation,
    make_concept_record,
    make_memorised_evaluation,
    make_memorised_record,
    write_prompt_run,
)

FAST = {"records": 25, "recipes": 60, "models": 30, "packs": 10, "checkpoints": 50}
SLOW = {"records": 5000, "recipes": 6000, "models": 4000, "packs": 2000, "checkpoints": 3000}
assert sum(SLOW.values()) == 20_000
SMALL_ENOUGH = st.sampled_from(  # for networks that are built as they are described
    [None, True, False, 0, 1, -1, 2, 0.5, 1e308, float("nan"), float("inf"), "", "x", [], {}]
    + [[None], [0], [1, "2"], [[8]], {"a": 1}, "\x00", "DownBlock2D", "@huge@", "@deep@", 10**300]
)


def attempt(*actions: Callable[[], object]) -> None:
    """Each on its own: what is right or one sentence."""
    for action in actions:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                action()
        except Exception as error:
            if not is_ours(error):
                raise


def some(count: int, test: Callable[[st.DataObject], None]) -> None:
    """Many cases of a kind, the same ones every time."""

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def run(data: st.DataObject) -> None:
        test(data)

    run()


def counts(kind: str) -> Any:
    """As many cases as the suite has time for."""
    many = pytest.param(SLOW[kind], marks=[pytest.mark.slow, pytest.mark.timeout(7200)])
    return pytest.mark.parametrize("count", [FAST[kind], many])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Finished runs of four kinds, with weights that are those of their records."""
    root = tmp_path_factory.mktemp("runs")
    made = [
        write_class_run(root / "class"),
        write_image_run(root / "images", make_image_record(), make_image_evaluation()),
        write_prompt_run(root / "concept", make_concept_record(), make_concept_evaluation()),
        write_prompt_run(root / "memorised", make_memorised_record(), make_memorised_evaluation()),
    ]
    for run in made:
        (run / "pipeline" / "unet").mkdir(parents=True)
        (run / "pipeline" / "unet" / "model.safetensors").write_bytes(b"weights")
        output = {"unet/model.safetensors": hashlib.sha256(b"weights").hexdigest()}
        write_json(run / "record.json", read_record(run).model_copy(update={"output": output}))
        write_json(run / "attacks.json", make_attacks(make_attack(), output=output))
        (run / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n')
    return made


@counts("records")
def test_records(count: int, runs: list[Path], tmp_path: Path) -> None:
    folders = [Path(shutil.copytree(run, tmp_path / run.name)) for run in runs]
    given_now = read_record(runs[0])
    number = 0

    def damage(data: st.DataObject) -> None:
        nonlocal number
        number += 1
        whole, run = data.draw(st.sampled_from(list(zip(runs, folders, strict=True))))
        names = ["record.json", "evaluation.json", "attacks.json", "samples/grid.json"]
        name = data.draw(st.sampled_from(names))
        content = json.loads((whole / name).read_text())
        (run / name).write_bytes(data.draw(file_of(content)))
        try:
            attempt(
                lambda: judge(run),
                lambda: write_model_card(run),
                lambda: read_recorded(run, [], "evaluate"),
                lambda: read_recorded(run, [], "attack"),
                lambda: check_folder(run, given_now, True, False),
                lambda: start_from(run),
                lambda: compared([run, runs[1]], tmp_path / "compared"),
            )
            if number % 10 == 0:
                attempt(lambda: write_report([run], tmp_path / "page.html"))
        finally:
            shutil.copyfile(whole / name, run / name)

    some(count, damage)


def judge(run: Path) -> None:
    found = read_run(run)
    judge_run(found.record, found.evaluation, found.names, found.attacks)


def start_from(run: Path) -> None:
    """As the start of another run, and as its model."""
    info = inspect_model("zoo:digits")
    (run / "checkpoints" / "step_00000001").mkdir(parents=True, exist_ok=True)
    for kind in (kinds()["class"], kinds()["concept"]):
        check_start(run, info, settings_of(kind, None, None, None, []))
    describe_start(run, info)


def compared(folders: list[Path], out: Path) -> None:
    bases = compare(folders)
    as_tables(bases), as_json(bases)
    write_comparison(bases, out)


TOML = (
    *(
        "1",
        "-1",
        "1e308",
        "nan",
        "inf",
        "-inf",
        "true",
        '""',
        '"x"',
        "[]",
        "{}",
        "[[]]",
        "[1, 'a']",
    ),
    *("1979-05-27", "07:32:00", "9" * 5000, "0x7fffffffffffffffffff", '"' + "a" * 3000 + '"'),
    *(
        '"\\u0000"',
        "[" * 500 + "]" * 500,
        "{a = {b = 1}}",
        "'none'",
        "1_000",
        "0.0",
        "100000000000",
    ),
    *("[0.1, 0.9]", "[0, 0]", '["a", "b"]', "[nan]", "[1e400]", "1e400", "-0.0"),
)


@counts("recipes")
def test_recipes(count: int, tmp_path: Path) -> None:
    folder = Path(__file__).parents[1] / "recipes"
    recipes = [path.read_text() for path in sorted(folder.glob("*.toml"))]
    file = tmp_path / "recipe.toml"

    def damage(data: st.DataObject) -> None:
        lines = data.draw(st.sampled_from(recipes)).splitlines()
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(lines) - 1))
            name, equals, _ = lines[at].partition(" = ")
            value = data.draw(st.sampled_from(TOML))
            lines[at] = f"{name} = {value}" if equals else data.draw(st.sampled_from(TOML))
        content = "\n".join(lines).encode()
        if not data.draw(st.integers(0, 5)):
            content = data.draw(damaged(content))
        file.write_bytes(content)
        key = data.draw(st.sampled_from(("train.steps", "method.alpha", "evaluate.clip", "a", "")))
        change = f"{key}={data.draw(st.sampled_from(TOML))}"
        kind = kinds()[data.draw(st.sampled_from(sorted(kinds())))]

        def read() -> Settings:
            return read_settings(kind.section, kind.own, recipe=file, others=sections())

        attempt(
            lambda: read().to_json(),
            lambda: settings_of(kind, None, None, None, [change]).to_json(),
            lambda: read_build_settings(file).to_json(),
            lambda: read_build_settings(None, [change]),
        )

    some(count, damage)


@counts("models")
def test_models(
    count: int, tiny_model: Path, pipelines: Callable[[str], Path], tmp_path: Path
) -> None:
    models = [tiny_model, pipelines("sd"), pipelines("sd3")]
    folders = [Path(shutil.copytree(m, tmp_path / str(n))) for n, m in enumerate(models)]
    number = 0

    def damage(data: st.DataObject) -> None:
        nonlocal number
        number += 1
        which = data.draw(st.sampled_from((0, 0, 0, 1, 2)))
        whole, model = models[which], folders[which]
        name = data.draw(st.sampled_from(sorted(described(whole))))
        content = json.loads((whole / name).read_text())
        (model / name).write_bytes(data.draw(file_of(content, SMALL_ENOUGH)))
        try:
            attempt(
                lambda: sample_shape(inspect_model(model)),
                lambda: inspect_model(model, null_label=3, size=16),
            )
            if which == 0 or number % 20 == 0:
                attempt(lambda: load(model))
        finally:
            shutil.copyfile(whole / name, model / name)

    some(count, damage)


def described(model: Path) -> list[str]:
    """The descriptions of a pipeline, without what a tokenizer is made of."""
    files = [path.relative_to(model) for path in model.rglob("*.json")]
    left_out = ("vocab.json", "tokenizer.json", "judge.json")
    return [str(file) for file in files if file.name not in left_out and "judge" not in file.parts]


@counts("packs")
def test_packs(count: int, runs: list[Path], tmp_path: Path) -> None:
    packed, model = tmp_path / "pack.zip", runs[0] / "pipeline"
    pack([runs[0]], packed)
    whole, files = packed.read_bytes(), contents(packed)
    names = [name for name in files if name.endswith(".json")]

    def damage(data: st.DataObject) -> None:
        if data.draw(st.booleans()):
            packed.write_bytes(data.draw(damaged(whole)))
        else:
            name = data.draw(st.sampled_from(names))
            other = dict(files) | {name: data.draw(file_of(json.loads(files[name])))}
            if data.draw(st.booleans()):
                lines = [f"{hashlib.sha256(c).hexdigest()}  {n}" for n, c in sorted(other.items())]
                sums = [line for line in lines if not line.endswith("  SHA256SUMS")]
                other["SHA256SUMS"] = "".join(f"{line}\n" for line in sums).encode()
            packed.write_bytes(to_zip(other))
        attempt(lambda: verify(packed, model, metric="none"))

    some(count, damage)


@counts("checkpoints")
def test_checkpoints(count: int, tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    objects = {"module": ModuleState(module), "optimizer": OptimizerState(optimizer)}
    progress = Progress(step=7, seconds=2.5, guard_log=[{"step": 3, "distance": 0.1}], stopped="so")
    folder = Checkpoints(tmp_path / "checkpoints").save(objects, progress)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    log = b'{"step": 1, "loss": 0.5}\n{"step": 2, "loss": NaN}\n{"step": 9}\n'

    def damage(data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(whole)))
        strategy = damaged(whole[name])
        if name == "state.json":
            strategy = file_of(json.loads(whole[name]))
        elif data.draw(st.booleans()):
            strategy = headed(whole[name])
        (folder / name).write_bytes(data.draw(strategy))
        attempt(lambda: Checkpoints.restore(folder, objects))
        (folder / name).write_bytes(whole[name])
        line = data.draw(file_of({"step": 1, "loss": 0.5}))
        (tmp_path / "metrics.jsonl").write_bytes(data.draw(damaged(log + line + b"\n" + log)))
        attempt(lambda: Tracking(tmp_path, first_step=2).close())

    some(count, damage)


@st.composite
def headed(draw: st.DrawFn, content: bytes) -> bytes:
    """A safetensors file with another header of the length that it says."""
    length = int.from_bytes(content[:8], "little")
    header = written(draw(changed(json.loads(content[8 : 8 + length]))))
    return len(header).to_bytes(8, "little") + header + content[8 + length :]
