"""Trains a CIFAR-10 model and a classifier, forgets a class with SFD and evaluates it, in pieces.

    python benchmarks/cifar10.py --work WORK --minutes 9 --teacher-minutes 11 --sfd-minutes 7

One call does as much as fits into --minutes, stops at a checkpoint, and exits with 3; call it again
with the same arguments until it exits with 0 and the results are written. --teacher-minutes and
--sfd-minutes replace the recipes' numbers of steps by what a short trial on this machine says will
fit; the numbers are kept in WORK/plan.json, since a resumed run must have the same settings.

WORK holds all that a later call needs, so it can be copied to another machine between calls; keep
its path and --data the same, because the records name them. One checkpoint of the 35.8 M network is
0.57 GB for the teacher and 1.15 GB for SFD (averages and optimizer states, float32), two are kept
and a third is there while it is written: at most 1.8 and 3.5 GB. The teacher's checkpoints go when
it is finished; its pipeline and the result's are 0.14 GB each. WORK/sfd/report.html and
WORK/sfd/samples show the result.

--tiny does all of it on a CPU with a tiny network and a few images, stopping at every checkpoint
and resuming: it shows that the pieces fit together and measures nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import statistics
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from cifar10_tiny import FILES, TINY, thin
from forget_class import check, figures, protocol
from forward_passes import forward_flops, forwards
from recipe_settings import request_settings
from results_file import write_results
from time_budget import Call, OutOfTime, Trial, TrialOver, Watch

import efface
from efface.records import read_evaluation, read_record
from efface.settings.base import Settings
from efface.zoo.build.classifier import train_classifier
from efface.zoo.build.settings import BuildSettings, read_build_settings

RECIPES = Path(__file__).parent.parent / "recipes"
RECIPE = {"teacher": RECIPES / "cifar10-teacher.toml", "sfd": RECIPES / "cifar10-sfd.toml"}
RESULTS = Path(__file__).parent / "results" / "cifar10-sfd.json"
FORGET, REPLACE = 0, 1  # airplane, automobile
DATA_NOTE = (
    "CIFAR-10 re-encoded as JPEG; reference and classifier from the same images; not comparable "
    "with numbers on the lossless set"
)
SECONDS_WORTH_A_START = {"classifier": 150, "teacher": 120, "sfd": 150, "evaluation": 240}


class Experiment:
    """The stages in one work folder: each is done, half done or not begun."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.work: Path = arguments.work
        self.work.mkdir(parents=True, exist_ok=True)
        self.changes = self._changes()

    def _changes(self) -> dict[str, list[str]]:
        arguments, data = self.arguments, self.arguments.data
        changes: dict[str, list[str]] = {"teacher": [], "sfd": []}
        if arguments.tiny:
            data = thin(data or data_folder(), self.work / "data")
            changes = {stage: list(own) for stage, own in TINY.items()}
        if data is not None:
            changes["teacher"] += [f"data.{key}={data / name}" for key, name in FILES.items()]
        seed = arguments.seed
        changes["teacher"] += [f"train.seed={seed}", f"judge.seed={seed}"]
        changes["sfd"] += [f"train.seed={seed}", f"evaluate.seed={1000 + 20_000 * seed}"]
        for text in arguments.set:
            stage, _, change = text.partition(":")
            changes[stage].append(change)
        return changes

    def advance(self, call: Call) -> None:
        """Go on from wherever the work folder stands, to the end or until OutOfTime."""
        self.make_classifier(call)
        for stage in ("teacher", "sfd"):
            self.train(stage, call)
        shutil.rmtree(self.work / "teacher" / "checkpoints", ignore_errors=True)
        self.measure(call)

    def make_classifier(self, call: Call) -> None:
        folder = self.work / "judge"
        if (folder / "config.json").exists():  # written last
            return
        call.begin(SECONDS_WORTH_A_START["classifier"])
        shutil.rmtree(folder, ignore_errors=True)
        began = time.perf_counter()
        made = train_classifier(RECIPE["teacher"], folder, self.changes["teacher"])
        self.note("classifier", began, held_out_accuracy=made.config["held_out_accuracy"])

    def train(self, stage: str, call: Call) -> None:
        folder = self.work / stage
        if (folder / "record.json").exists() and read_record(folder).status != "running":
            return
        call.begin(SECONDS_WORTH_A_START[stage])
        self.plan(stage)
        began, finished = time.perf_counter(), False
        watch = Watch(call, self.settings(stage).train)
        try:
            self.run(stage, folder, watch)
            finished = True
        finally:
            steps = len(watch.durations)
            typical = statistics.median(watch.durations) if steps else None
            self.note(stage, began, steps=steps, seconds_per_step=typical, finished=finished)

    def run(self, stage: str, folder: Path, on_step: Callable[[int], None]) -> None:
        torch.compiler.reset()  # every stage compiles the same code for other networks
        changes = self.changes[stage] + self.planned(stage)
        if stage == "teacher":
            efface.train(RECIPE[stage], folder, changes=changes, resume=True, on_step=on_step)
            return
        efface.forget(
            self.work / "teacher",
            efface.ForgetClass(labels=(FORGET,), replacement=(REPLACE,)),
            folder,
            recipe=RECIPE[stage],
            changes=changes,
            judge=self.work / "judge",
            resume=True,
            measure=False,
            on_step=on_step,
        )

    def plan(self, stage: str) -> None:
        """Fix the number of steps by a trial, if minutes are given and none is fixed yet."""
        minutes = {"teacher": self.arguments.teacher_minutes, "sfd": self.arguments.sfd_minutes}
        if minutes[stage] is None or self.planned(stage) or (self.work / stage).exists():
            return
        began, folder = time.perf_counter(), self.work / f"trial-{stage}"
        trial = Trial(self.settings(stage).train)
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(TrialOver):
            self.run(stage, folder, trial)
        shutil.rmtree(folder, ignore_errors=True)
        every = self.settings(stage).train.checkpoint_every or 1
        # A little less than fits: checkpoints and the guard take time too.
        fitting = 0.95 * 60 * minutes[stage] / trial.seconds_per_step
        path, steps = self.work / "plan.json", max(1, int(fitting / every)) * every
        plan = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(plan | {stage: steps}, indent=2) + "\n")
        self.note(
            f"trial of {stage}", began, seconds_per_step=trial.seconds_per_step, planned=steps
        )

    def planned(self, stage: str) -> list[str]:
        path = self.work / "plan.json"
        steps = json.loads(path.read_text()).get(stage) if path.exists() else None
        return [] if steps is None else [f"train.steps={steps}"]

    def measure(self, call: Call) -> None:
        folder = self.work / "sfd"
        if (folder / "evaluation.json").exists():
            return
        call.begin(SECONDS_WORTH_A_START["evaluation"])
        began = time.perf_counter()
        efface.evaluate(folder, judge=self.work / "judge")
        self.note("evaluation", began)

    def settings(self, stage: str) -> Settings | BuildSettings:
        changes = self.changes[stage] + self.planned(stage)
        if stage == "teacher":
            return read_build_settings(RECIPE[stage], changes)
        return request_settings(efface.ForgetClass, RECIPE[stage], changes)

    def note(self, stage: str, began: float, **values: Any) -> None:
        """Keep what a stage did in this call, and print it."""
        line = {"stage": stage, "seconds": round(time.perf_counter() - began, 1)} | values
        with (self.work / "calls.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        print(*(f"{key} {value}" for key, value in line.items()), sep=", ", flush=True)

    def notes(self) -> list[dict[str, Any]]:
        lines = (self.work / "calls.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def results(self) -> dict[str, Any]:
        """What the finished experiment measured, and with what."""
        arguments, folder = self.arguments, self.work / "sfd"
        evaluation, record = read_evaluation(folder), read_record(folder)
        expected = tomllib.loads(RECIPE["sfd"].read_text(encoding="utf-8"))["expected"]
        run = {"results": {r.metric: figures(r) for r in evaluation.results}}
        bars = check(run, expected)
        return {
            "tiny": arguments.tiny,
            "data": DATA_NOTE,
            "pair": f"{FORGET}:{REPLACE}",
            "status": record.status,
            "passes_per_image": record.sampler["passes"],
            "expected": expected,
            "bars": bars,
            "all_bars_met": all(bars.values()),
            **run,
            "judge": evaluation.judge,
            "protocol": protocol(evaluation),
            "teacher": self.speed("teacher"),
            "sfd": self.speed("sfd"),
            "calls": self.notes(),
            "settings": {stage: self.settings(stage).to_json() for stage in RECIPE},
        }

    def speed(self, stage: str) -> dict[str, Any]:
        """Times of a training stage and the share of the machine's peak that it used."""
        record, settings = read_record(self.work / stage), self.settings(stage)
        longest = max(
            (n for n in self.notes() if n["stage"] == stage), key=lambda note: note["steps"]
        )
        rows = settings.train.batch_size
        rows += round(settings.method.forget_share * rows)
        steady = rows / longest["seconds_per_step"]
        forward = forward_flops(self.work / "teacher" / "pipeline" / "unet")
        worth = forwards(settings.method)
        teraflops = steady * worth * forward["flops"] / 1e12
        peak = self.arguments.peak_tflops if torch.cuda.is_available() else None
        return {
            "steps": record.steps,
            "seconds": record.seconds,
            "images_per_second": record.images_per_second,  # with compiling, checkpoints, guard
            "images_per_second_steady": steady,  # of the median step
            "parameters": forward["parameters"],
            "forward_gmacs": forward["flops"] / 2e9,
            "forwards_per_image": worth,
            "tflops": teraflops,
            "peak_tflops": peak,
            "share_of_peak": None if peak is None else teraflops / peak,
            "guard": record.guard,
        }


def data_folder() -> Path:
    return Path(read_build_settings(RECIPE["teacher"]).data.source).parent


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of all that is kept")
    parser.add_argument("--data", type=Path, help=f"folder of {' and '.join(FILES.values())}")
    parser.add_argument("--minutes", type=float, help="of this call; without: to the end")
    parser.add_argument("--teacher-minutes", type=float, help="of the teacher's training in all")
    parser.add_argument("--sfd-minutes", type=float, help="of SFD in all")
    parser.add_argument("--peak-tflops", type=float, default=790.0, help="of the GPU, in bf16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], help="STAGE:SECTION.NAME=VALUE")
    parser.add_argument("--commit", help="where this is not a git checkout")
    parser.add_argument("--tiny", action="store_true", help="on a CPU, to see that it runs")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results, tiny: --work")
    parsed = parser.parse_args(arguments)
    for text in parsed.set:
        if text.partition(":")[0] not in RECIPE:
            parser.error(f"--set {text}: begin with {' or '.join(f'{s}:' for s in RECIPE)}")
    return parsed


def main(given: list[str] | None = None) -> int:
    arguments = parse(given)
    torch.set_float32_matmul_precision("high")  # as cuDNN's convolutions are by default
    experiment = Experiment(arguments)
    while True:
        try:
            experiment.advance(Call(arguments.minutes, 1 if arguments.tiny else None))
            break
        except OutOfTime:
            print("stopped at a checkpoint", flush=True)
            if not arguments.tiny:
                print("not finished: call again with the same arguments")
                return 3
    out = arguments.out or (arguments.work / RESULTS.name if arguments.tiny else RESULTS)
    content = experiment.results()
    write_results(out, [arguments.seed], content, arguments.commit)
    for bar, met in content["bars"].items():
        print(f"{'met' if met else 'MISSED'}: {bar}")
    print(f"written to {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
