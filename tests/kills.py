"""Runs of every kind that are stopped at random moments, and resumed to the very same result.

    python -m tests.kills --moments 100 --out kills.json

A moment lies anywhere between the first look at the request and the last word of the report; some
resumed runs are stopped once more. Each run must end in the weights, the figures and the log of one
that nobody stopped, leave nothing else behind, and say how it goes on where it was asked to stop.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import torch

import efface.cli
import efface.runs.forget  # so that no process has to import it
from efface.diffusion.loading import save_pipeline
from tests.fingerprint import IMAGES, MEMORISED, PROMPTS, SAMPLES, STEPS, TEXT, WORDS, text_model
from tests.tiny import make_tiny_unet

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
LONGER = ["train.steps=6", "train.log_every=1", "train.guard_every=3"]
LEFT = {  # what a run folder holds, and nothing else
    *("record.json", "evaluation.json", "report.html", "metrics.jsonl"),
    *("pipeline", "checkpoints", "samples", "preparation", "lora"),
}
AGAIN = 0.3  # share of the resumed runs that are stopped too


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A command, and how long it takes."""

    arguments: list[str]
    whole: Path  # the run that nobody stopped
    seconds: float


def commands(root: Path) -> dict[str, list[str]]:
    """What to run, by kind of request."""
    save_pipeline(make_tiny_unet(), root / "model")
    (root / "controls.txt").write_text("\n".join([*WORDS, *(f"{word} here" for word in WORDS)]))
    symbols = ["--images", "zoo:symbol", "--retain", "digits", "--unseen", "digits"]
    memorised = ["--prompt", "a red bag", "--modified-prompt", "a bag"]
    memorised += ["--control-prompts", str(root / "controls.txt")]
    siss = [*MEMORISED, "memorised.original_share=0.5", "method.rule_name=relative_norm"]
    siss += ["memorised.undecided=0.5"]
    sd = str(text_model(root, "sd"))
    kinds = {
        "class": ([str(root / "model"), "--label", "0", "--replace", "1"], [*STEPS, *SAMPLES]),
        "images": (["zoo:digits-symbol", *symbols], IMAGES),
        "concept": ([sd, "--concept", "bag", "--replace", "coat"], [*TEXT, *PROMPTS]),
        "memorised": ([sd, *memorised], siss),
    }
    return {
        kind: ["forget", kind, *given, *(p for c in [*changes, *LONGER] for p in ("--set", c))]
        for kind, (given, changes) in kinds.items()
    }


def start(arguments: list[str], errors: Path) -> int:
    """A process that runs a command; returns its id once it is about to begin."""
    readable, writable = os.pipe()
    process = os.fork()
    if process:
        os.close(writable)
        os.read(readable, 1)
        os.close(readable)
        return process
    stream = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.argv = ["efface", *arguments]
    code = 70
    signal.signal(signal.SIGTERM, efface.cli._stop)  # a signal may come before `main` is entered
    try:
        os.write(writable, b".")
        efface.cli.main()
        code = 0
    except SystemExit as left:
        code = int(left.code or 0)
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def wait(process: int, seconds: float | None = None, number: int = 0) -> int:
    """The exit status of a process that is sent a signal after some time."""
    if seconds is not None:
        time.sleep(seconds)
        os.kill(process, number)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def result_of(run: Path) -> dict[str, object]:
    """Everything of a run that does not tell the time."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    logged = [json.loads(line) for line in lines]
    for values in logged:
        del values["images_per_second"]
    record = json.loads((run / "record.json").read_text())
    names = ("status", "request", "material", "model", "settings", "output", "guard", "notes")
    return {
        "log": logged,
        "record": {name: record[name] for name in (*names, "steps", "sampler", "stopped", "note")},
        "evaluation": (run / "evaluation.json").read_text(),
        "samples": {p.name: p.read_bytes() for p in (run / "samples").glob("*")},
        "pipeline": {
            str(p.relative_to(run)): p.read_bytes()
            for p in (run / "pipeline").rglob("*")
            if p.is_file() and p.name != "README.md"
        },
        "card": (run / "pipeline" / "README.md").exists(),
        "report": (run / "report.html").exists(),
    }


def complaint(code: int, number: int, errors: str, due: bool) -> str | None:
    """What is wrong with how a process answered a signal, if anything is.

    `due` says whether it owes a word on how the run goes on.
    """
    if code == 0 or (code == -signal.SIGKILL and number == signal.SIGKILL):
        return None  # it was done before the signal came
    last = (errors.splitlines() or [""])[-1]
    if code != 128 + number or "Traceback" in errors or "stopped" not in last:
        return f"exit {code} after signal {number}: {errors[-2000:]}"
    if due and "add --resume" not in last:
        return f"no word on how it goes on: {errors}"
    return None


def stop_and_resume(kind: Kind, number: int, chance: random.Random, out: Path) -> str | None:
    """What is wrong with a run that was stopped, and with its result, if anything is."""
    errors = out.with_name("errors.txt")
    stopped = True
    while stopped:
        more = ["--resume"] if (out / "record.json").exists() else []
        process = start([*kind.arguments, "--out", str(out), *more], errors)
        code = wait(process, chance.uniform(0, kind.seconds), number)
        due = not more and (out / "record.json").exists() and not (out / "report.html").exists()
        wrong = complaint(code, number, errors.read_text(), due)
        if wrong is not None:
            return wrong
        stopped = chance.random() < AGAIN
    more = ["--resume"] if (out / "record.json").exists() else []
    code = wait(start([*kind.arguments, "--out", str(out), *more], errors))
    if code:
        return f"resumed with exit {code}: {errors.read_text()[-2000:]}"
    own, whole = result_of(out), result_of(kind.whole)
    differing = [name for name in whole if own[name] != whole[name]]
    left = {path.name for path in out.iterdir()} - LEFT
    if differing or left:
        return f"other {differing}, left over {sorted(left)}"
    return None


def run_all(moments: int, seed: int, root: Path, only: str = "") -> list[str]:
    """What went wrong, a line for each moment at which something did."""
    os.environ["EFFACE_CACHE"] = str(root / "cache")
    torch.set_num_threads(1)
    chance, kinds, wrong = random.Random(seed), dict[str, Kind](), list[str]()
    for name, arguments in commands(root).items():
        if not name.startswith(only):
            continue
        for attempt in ("first", "whole"):  # the second finds samples of the original model kept
            began, whole = time.monotonic(), root / attempt / name
            errors = root / "errors.txt"
            code = wait(start([*arguments, "--out", str(whole)], errors))
            assert code == 0, errors.read_text()
            seconds = time.monotonic() - began
        kinds[name] = Kind(arguments=arguments, whole=whole, seconds=seconds)
        print(f"{name}: {seconds:.1f} s", flush=True)
    for moment in range(moments):
        name = list(kinds)[moment % len(kinds)]
        number = SIGNALS[moment // len(kinds) % len(SIGNALS)]
        out = root / "stopped" / "run"
        shutil.rmtree(out.parent, ignore_errors=True)
        out.parent.mkdir()
        problem = stop_and_resume(kinds[name], number, chance, out)
        if problem is not None:
            wrong.append(f"moment {moment}, {name}, {signal.Signals(number).name}: {problem}")
        print(wrong[-1] if problem else f"moment {moment}, {name}: the same", flush=True)
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--only", default="", help="the kind whose name begins so")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        wrong = run_all(given.moments, given.seed, Path(temporary), given.only)
    content = {"moments": given.moments, "seed": given.seed, "wrong": wrong}
    print(json.dumps(content, indent=1))
    if given.out is not None:
        given.out.write_text(json.dumps(content, indent=1) + "\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
