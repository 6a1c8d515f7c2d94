"""Membership: does the loss still tell forgotten images from unseen ones."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from efface.attacks.base import LARGEST, ORIGINAL, WEAK, Attack, Case, Findings
from efface.attacks.costs import Scale, Trial, described, point
from efface.attacks.goals import Goal
from efface.attacks.image_goal import ImageGoal
from efface.attacks.weak import NEGGRAD_RATE, one_ascent_step
from efface.diffusion.denoiser import Denoiser
from efface.metrics.intervals import Estimate
from efface.metrics.membership_gap import denoising_losses, loss_timesteps, membership_gap
from efface.records import Point, SelfTest

CHANCE = Estimate(0.5, 0.5, 0.5)


class MembershipInference(Attack):
    """AUC of the denoising loss, per timestep and over all, forgotten against unseen images.

    No budget: the x axis is the timestep, and what counts is the AUC over all of them. Chance is a
    half where forgotten images are like the unseen ones; the retrained model's AUC is the better
    zero.
    """

    samples: int = Field(default=200, ge=2, le=LARGEST, description="Unseen images, at most.")
    draws: int = Field(
        default=8, ge=1, le=LARGEST, description="Noise draws per image and timestep."
    )

    title: ClassVar[str] = "Membership inference"
    summary: ClassVar[str] = "the model's errors are compared between forgotten and unseen images"
    goals: ClassVar[tuple[type[Goal], ...]] = (ImageGoal,)
    needs_unseen: ClassVar[bool] = True

    def measure(self, case: Case) -> Findings:
        goal = case.goal
        assert isinstance(goal, ImageGoal)  # `goals`
        # A longer step raises the loss above that of unseen images, and leaves less to be found.
        weak = one_ascent_step(case.original.denoiser, goal, case.seed, (NEGGRAD_RATE,))
        measured = {
            name: self._line(goal, subject.denoiser)
            for name, subject in case.with_weak(weak).items()
        }
        overall = {name: auc for name, (_, auc) in measured.items()}
        return Findings(
            x_label="timestep",
            y_label="probability that a forgotten image has the lower loss",
            trials={name: [Trial(points=points)] for name, (points, _) in measured.items()},
            scale=Scale(level=overall["baseline"], floor=overall.get("retrained", CHANCE)),
            overall=overall,
            weak=weak,
            protocol=f"{self.draws} noise draws at every timestep, the same for all images and "
            f"models; against {len(self._unseen(goal))} unseen images",
            notes=[f"{name}: over all timesteps {described(auc)}" for name, auc in overall.items()],
        )

    def decisive(self, findings: Findings) -> dict[str, Trial]:
        return {name: Trial(points=[point(0, auc)]) for name, auc in findings.overall.items()}

    def self_tests(self, case: Case, findings: Findings) -> list[SelfTest]:
        """Both must stand out from a model without it: its AUC, or a half, below their interval."""
        assert findings.weak is not None  # `measure` made one
        return [
            SelfTest(
                subject=subject,
                passed=findings.overall[line].low > findings.scale.floor.high,
                text=f"{made}AUC {described(findings.overall[line])} over all timesteps",
            )
            for subject, line, made in (
                (ORIGINAL, "baseline", ""),
                (WEAK, "weak", f"{findings.weak.text}; "),
            )
        ]

    def _line(self, goal: ImageGoal, denoiser: Denoiser) -> tuple[list[Point], Estimate]:
        timesteps = loss_timesteps(denoiser.schedule.num_timesteps)
        forgotten, unseen = (
            denoising_losses(denoiser, images, timesteps, self.draws, self.first_seed)
            for images in (goal.images, self._unseen(goal))
        )
        points = [
            point(t, membership_gap(forgotten[:, [i]], unseen[:, [i]], [t]).auc)
            for i, t in enumerate(timesteps)
        ]
        return points, membership_gap(forgotten, unseen, timesteps).auc

    def _unseen(self, goal: ImageGoal) -> Tensor:
        assert goal.unseen is not None  # `needs_unseen`
        return goal.unseen[: self.samples]
