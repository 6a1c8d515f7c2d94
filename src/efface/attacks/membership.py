"""Membership: does the loss still tell forgotten pictures from ones never seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from efface.attacks.base import (
    ORIGINAL,
    WEAK,
    Attack,
    Case,
    Findings,
    described,
    point,
)
from efface.attacks.image_goal import ImageGoal
from efface.attacks.weak import NEGGRAD_RATE, one_ascent_step
from efface.diffusion.denoiser import Denoiser
from efface.metrics.intervals import Estimate
from efface.metrics.membership_gap import denoising_losses, loss_timesteps, membership_gap
from efface.records import Point, SelfTest

CHANCE = Estimate(0.5, 0.5, 0.5)


@dataclass(frozen=True, kw_only=True)
class Membership(Attack):
    """AUC of the denoising loss, per timestep and over all, forgotten against unseen pictures.

    No budget: the x axis is the timestep, and what counts is the AUC over all of them. Half is
    chance, but for pictures unlike the unseen ones; the retrained model's AUC is the better zero.
    """

    samples: int = 200  # unseen pictures at most
    draws: int = 8  # noises per picture and timestep

    summary: ClassVar[str] = "tell forgotten pictures from unseen ones by their loss"
    kinds: ClassVar[frozenset[str]] = frozenset({"images"})
    needs_unseen: ClassVar[bool] = True

    def measure(self, case: Case) -> Findings:
        goal = case.goal
        assert isinstance(goal, ImageGoal)  # `kinds` says so
        # A longer step pushes the loss beyond never-seen, and then there is less to be found.
        weak = one_ascent_step(case.original.denoiser, goal, case.seed, (NEGGRAD_RATE,))
        measured = {
            name: self._line(goal, subject.denoiser)
            for name, subject in case.subjects(weak).items()
        }
        overall = {name: auc for name, (_, auc) in measured.items()}
        return Findings(
            x_label="timestep",
            lines={name: points for name, (points, _) in measured.items()},
            level=overall["baseline"],
            floor=overall.get("retrained", CHANCE),
            overall=overall,
            weak=weak,
            protocol=f"{self.draws} noises at every timestep, the same for all pictures and "
            f"models; against {len(self._unseen(goal))} pictures never seen",
            notes=[f"{name}: over all timesteps {described(auc)}" for name, auc in overall.items()],
        )

    def y_label(self, case: Case) -> str:
        del case
        return "probability that a forgotten picture has the lower loss"

    def climbs(self, findings: Findings) -> dict[str, list[Point]]:
        return {name: [point(0, auc)] for name, auc in findings.overall.items()}

    def self_tests(self, case: Case, findings: Findings) -> list[SelfTest]:
        """Both must be told from what never knew: their AUC's interval above its own, or a half."""
        del case
        assert findings.weak is not None  # `measure` made one
        return [
            SelfTest(
                subject=subject,
                passed=findings.overall[line].low > findings.floor.high,
                text=f"{made}AUC {described(findings.overall[line])} over all timesteps",
            )
            for subject, line, made in (
                (ORIGINAL, "baseline", ""),
                (WEAK, "weak", f"{findings.weak.text}; "),
            )
        ]

    def _line(self, goal: ImageGoal, denoiser: Denoiser) -> tuple[list[Point], Estimate]:
        timesteps = loss_timesteps(denoiser.schedule.num_timesteps)
        known = self._losses(goal.pictures, denoiser, timesteps)
        new = self._losses(self._unseen(goal), denoiser, timesteps)
        points = [
            point(t, membership_gap(known[:, [i]], new[:, [i]], [t]).auc)
            for i, t in enumerate(timesteps)
        ]
        return points, membership_gap(known, new, timesteps).auc

    def _losses(self, images: Tensor, denoiser: Denoiser, timesteps: Sequence[int]) -> np.ndarray:
        return denoising_losses(denoiser, images, timesteps, self.draws, self.first_seed)

    def _unseen(self, goal: ImageGoal) -> Tensor:
        assert goal.unseen is not None  # `needs_unseen` says so
        return goal.unseen[: self.samples]
