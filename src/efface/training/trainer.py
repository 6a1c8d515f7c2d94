"""The only loop. It knows no method by name."""

import contextlib
import functools
import json
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Self

import torch
from accelerate import Accelerator

from efface.data.randomness import random_state_kept
from efface.data.source import BatchSource
from efface.diffusion.denoiser import Denoiser
from efface.errors import Stopped
from efface.files import whole_file
from efface.methods.base import Method
from efface.progress import Bar
from efface.training.checkpoint import Checkpoints, MovingAverage, Progress, Stateful
from efface.training.cost import Forwards
from efface.training.guard import CollapseGuard, Stopper
from efface.training.processes import check_parts, from_main, on_main
from efface.training.settings import TrainSettings
from efface.training.stepper import Stepper

CHECKPOINT_SECONDS = 120.0  # between checkpoints, where no number of steps is set
WRITING_SHARE = 0.1  # of the time, at most, for writing these


class Interruption:
    """Notes the first signal to stop, inside `with`; a second one stops at once.

    Only the main thread is sent signals: elsewhere nothing is noted.
    """

    def __init__(self) -> None:
        self.signal: int | None = None  # which one came
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise Stopped("stopped at once; add --resume to go on from the last checkpoint", number)
        self.signal = number


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainResult:
    """What a run leaves behind."""

    denoiser: Denoiser  # the averaged network that the method delivers
    networks: Mapping[str, Denoiser]
    steps: int
    seconds: float
    images_per_second: float  # rows of both sides, of all processes
    forwards: int  # of all processes, see `Forwards`
    collapsed: str | None  # the guard's sentence, if it stopped the run
    stopped: str | None  # why the run stopped before its last step, if all was well
    guard: list[dict[str, float]] = field(default_factory=list)


class Trainer:
    """Runs a method to its end: steps, the moving average, checkpoints, and checks on the way.

    `guard` compares the averaged network with the teacher every `guard_every` steps and ends a
    collapsed run with its last good weights; `stopper` ends one that has forgotten enough. Both
    decide in the main process, for all.
    """

    def __init__(
        self,
        method: Method,
        networks: Mapping[str, Denoiser],
        source: BatchSource,
        settings: TrainSettings,
        folder: Path,
        accelerator: Accelerator | None = None,
        *,
        guard: CollapseGuard | None = None,
        stopper: Stopper | None = None,
    ) -> None:
        self.accelerator = accelerator or Accelerator()
        self.method, self.source, self.settings, self.folder = method, source, settings, folder
        self.guard, self.stopper = guard, stopper
        check_parts(method, settings, source.forget_rows, self.accelerator.num_processes)
        device = self.accelerator.device
        self.networks = {name: d.to(device) for name, d in networks.items()}
        for denoiser in self.networks.values():
            if settings.channels_last:
                denoiser.network.to(memory_format=torch.channels_last)  # pyright: ignore
            if settings.gradient_checkpointing:  # a gradient may pass through frozen ones too
                denoiser.network.enable_gradient_checkpointing()  # pyright: ignore
        # The copy comes first: Accelerate changes the forward of what it prepares.
        delivered = self.networks[method.delivers].network
        self.average = MovingAverage(delivered, settings.ema_decay, settings.ema_ramp)
        self.stepper = Stepper(method, self.networks, source, settings, self.accelerator)
        if settings.compile:
            for denoiser in self.networks.values():
                denoiser.network.compile()
        self.checkpoints = Checkpoints(folder / "checkpoints")
        self._guard_log: list[dict[str, float]] = []
        self._collapsed: str | None = None
        self._stopped: str | None = None
        self._forwards = Forwards()
        self._seconds_before = 0.0  # spent before the checkpoint that was resumed from
        self._began = self._saved = time.perf_counter()
        self._writing = 0.0  # seconds that the last checkpoint took

    @functools.cached_property
    def last_good(self) -> MovingAverage:
        """What a collapsed run goes back to; made when a guard first needs it."""
        return MovingAverage(self.average.module, 0.0, False)

    def objects(self) -> dict[str, Stateful]:
        """Everything a resumed run needs, by name."""
        objects: dict[str, Stateful] = {"average": self.average, **self.stepper.objects()}
        if self.guard is not None:
            objects |= {"guard": self.guard, "last_good": self.last_good}
        return objects

    def run(
        self, resume: bool = False, on_step: Callable[[int], None] | None = None
    ) -> TrainResult:
        """Train to the end, from the latest checkpoint if `resume`. Raises RunError.

        The global random state is the caller's afterwards.
        """
        with random_state_kept():
            return self._run(resume, on_step)

    def step(self, step: int) -> dict[str, float]:
        """Update all networks and the average once; returns what is logged."""
        values = self.stepper.step(step)
        self.average.update(step)
        return values

    def _run(self, resume: bool, on_step: Callable[[int], None] | None) -> TrainResult:
        settings, main = self.settings, self.accelerator.is_main_process
        step = self._resume() if resume else None
        self._saved = time.perf_counter()
        self._began = self._saved - self._seconds_before
        with contextlib.ExitStack() as stack:
            bar = Bar("training", settings.steps, step or 0, hidden=not main)
            stack.enter_context(bar)
            stack.enter_context(self._forwards.counted(d.network for d in self.networks.values()))
            tracking = None
            if main:
                tracking = Tracking(self.folder, step or 0)
                stack.callback(tracking.close)
            if step is None:
                step = 0
                self.stepper.prepare()
                self._check(step)
            self.stepper.set_masks()
            interruption = stack.enter_context(Interruption())
            while step < settings.steps and not self._ended:
                values = self.step(step)
                step += 1
                if tracking and (step % settings.log_every == 0 or step == settings.steps):
                    speed = step * self._rows / self._seconds
                    tracking.log(step, values | {"images_per_second": speed})
                bar.advance(note=_note(values))
                self._check(step)
                due, stop = self._decide(step, interruption)
                if due:
                    self._save(step)
                if stop is not None:
                    raise Stopped(f"stopped at step {step}; add --resume to go on", stop)
                if on_step is not None:
                    on_step(step)
        return self._result(step)

    def _decide(self, step: int, interruption: Interruption) -> tuple[bool, int | None]:
        """Whether to write a checkpoint, and the signal to stop for; the main process decides."""
        every = self.settings.checkpoint_every
        if every is None:
            wait = max(CHECKPOINT_SECONDS, self._writing / WRITING_SHARE)
            due = time.perf_counter() - self._saved > wait
        else:
            due = step % every == 0
        stop = interruption.signal or 0
        if self.accelerator.num_processes > 1:
            choice = torch.tensor([int(due), stop], device=self.accelerator.device)
            due, stop = from_main(self.accelerator, {"choice": choice})["choice"].tolist()
        last = step == self.settings.steps or self._ended
        return bool(due) or stop > 0 or last, stop or None

    def _check(self, step: int) -> None:
        """End the run where the guard or the stopper says so; both look once at a step."""
        guarded, stopped = self.settings.guard_every, self.settings.stop_every
        last = step == self.settings.steps
        if self.guard is not None and guarded and (step % guarded == 0 or last):
            self._collapsed = self._guarded(step, self.guard)
        if self.stopper is not None and stopped and step % stopped == 0 and not self._collapsed:
            self._stopped = self._enough(step, self.stopper)

    def _guarded(self, step: int, guard: CollapseGuard) -> str | None:
        """Keep the average if it is good; a sentence if the run has collapsed."""
        check = on_main(self.accelerator, lambda: guard.check(self._averaged))
        self._guard_log.append({"step": step, "distance": check.distance, "spread": check.spread})
        if check.good:
            self.last_good.update(step)
        if check.collapsed is None:
            return None
        self.average.restore(self.last_good.tensors())
        return (
            f"collapse at step {step}: samples under retained conditions {check.collapsed}. The "
            "last good weights were kept. Lower train.learning_rate."
        )

    def _enough(self, step: int, stopper: Stopper) -> str | None:
        """A sentence if enough is forgotten."""
        reason = on_main(self.accelerator, lambda: stopper.check(self._averaged))
        return reason and f"The run stopped at step {step}: {reason}."

    @property
    def _averaged(self) -> Denoiser:
        return self.networks[self.method.delivers].with_network(self.average.module)

    @property
    def _ended(self) -> bool:
        """Whether a check ended the run before its last step."""
        return self._collapsed is not None or self._stopped is not None

    @property
    def _seconds(self) -> float:
        """Time spent training, before the checkpoint that was resumed from too."""
        return time.perf_counter() - self._began

    @property
    def _rows(self) -> int:
        """Rows that a step trains on: none where there is no loss."""
        if not self.method.phases:
            return 0
        return self.settings.batch_size + self.source.forget_rows

    def _save(self, step: int) -> None:
        began = time.perf_counter()
        if self.accelerator.is_main_process:
            progress = Progress(
                step=step,
                guard_log=self._guard_log,
                seconds=self._seconds,
                forwards=self._forwards.count,
                collapsed=self._collapsed,
                stopped=self._stopped,
            )
            self.checkpoints.save(self.objects(), progress)
        self.accelerator.wait_for_everyone()
        self._saved = time.perf_counter()
        self._writing = self._saved - began

    def _resume(self) -> int | None:
        """The step of the latest checkpoint, whose state is restored; None without one."""
        latest = self.checkpoints.latest()
        if latest is None:
            return None
        progress = self.checkpoints.restore(latest, self.objects())
        self._guard_log = progress.guard_log
        self._seconds_before = progress.seconds
        self._forwards.count = progress.forwards
        self._collapsed, self._stopped = progress.collapsed, progress.stopped
        return progress.step

    def _result(self, step: int) -> TrainResult:
        seconds = self._seconds
        return TrainResult(
            denoiser=self._averaged,
            networks=self.networks,
            steps=step,
            seconds=seconds,
            images_per_second=step * self._rows / seconds,
            forwards=self._forwards.count * self.accelerator.num_processes,
            collapsed=self._collapsed,
            stopped=self._stopped,
            guard=self._guard_log,
        )


def _note(values: Mapping[str, float]) -> str:
    """Retain and forget loss of every phase, short enough for a terminal's line."""
    phases = [key.removesuffix("_retain_loss") for key in values if key.endswith("_retain_loss")]
    return "  ".join(
        f"{phase} {values[f'{phase}_retain_loss']:.3g}/{values[f'{phase}_forget_loss']:.3g}"
        for phase in phases
    )


class Tracking:
    """Writes `metrics.jsonl`."""

    def __init__(self, folder: Path, first_step: int = 0) -> None:
        self._file = folder / "metrics.jsonl"
        self._drop_lines_from(first_step)
        self._stream = self._file.open("a", encoding="utf-8")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._stream.write(json.dumps({"step": step, **values}) + "\n")
        self._stream.flush()

    def close(self) -> None:
        self._stream.close()

    def _drop_lines_from(self, step: int) -> None:
        """A resumed run repeats the steps after its checkpoint: their old lines go."""
        if not self._file.exists():
            return
        kept = []
        for line in self._file.read_bytes().splitlines():
            try:
                if 0 < json.loads(line)["step"] <= step:
                    kept.append(line)
            except (ValueError, TypeError, KeyError, RecursionError):
                pass  # cut off when the process was killed, or none of ours
        with whole_file(self._file) as part:
            part.write_bytes(b"".join(line + b"\n" for line in kept))
