"""Figures of the forgotten pictures themselves, measured again."""

from __future__ import annotations

from collections.abc import Callable

from efface.errors import RequestError
from efface.evaluation.sample_sets import Subject
from efface.evaluation.store import Store
from efface.evaluation.terms import picture_terms
from efface.evidence.recorded import Claim
from efface.metrics.copy_similarity import normalised_similarity
from efface.metrics.intervals import Estimate, mean
from efface.metrics.membership_gap import MembershipGap, loss_timesteps, membership_gap
from efface.requests.images.evaluation import choose_unseen
from efface.requests.images.feed import Pictures, to_model
from efface.requests.images.probe import Probe
from efface.settings.reading import EvaluateConfig


class PictureProbe:
    """A model that is shown the pictures to forget, and unseen ones where a figure needs them."""

    def __init__(self, subject: Subject, pictures: Pictures, config: EvaluateConfig) -> None:
        self.probe = Probe(subject=subject, config=config, store=Store(None))
        self.forget = to_model(pictures.forget.images)
        self.unseen = choose_unseen(pictures, config)

    def forgotten_loss(self) -> Estimate:
        return mean(self.probe.losses(self.forget).mean(1))

    def nll(self) -> Estimate:
        return mean(self.probe.bits(self.forget))

    def copy_similarity(self) -> Estimate:
        return mean(self.probe.put_back(self.forget)[0])

    def normalised_similarity(self) -> Estimate:
        assert self.unseen is not None
        controls = self.unseen[: self.probe.config.controls]
        unseen = self.probe.put_back(controls)[0]
        return mean(normalised_similarity(self.probe.put_back(self.forget)[0], unseen))

    def membership_gap(self) -> Estimate:
        return self._gap().gap

    def membership_auc(self) -> Estimate:
        return self._gap().auc

    def _gap(self) -> MembershipGap:
        assert self.unseen is not None
        timesteps = loss_timesteps(self.probe.subject.denoiser.schedule.num_timesteps)
        losses = self.probe.losses(self.forget), self.probe.losses(self.unseen)
        return membership_gap(*losses, timesteps)


ALONE: dict[str, Callable[[PictureProbe], Estimate]] = {
    "forgotten_loss": PictureProbe.forgotten_loss,
    "nll": PictureProbe.nll,
    "copy_similarity": PictureProbe.copy_similarity,
}
BESIDE_UNSEEN: dict[str, Callable[[PictureProbe], Estimate]] = {
    "normalised_similarity": PictureProbe.normalised_similarity,
    "membership_gap": PictureProbe.membership_gap,
    "membership_auc": PictureProbe.membership_auc,
}
OF_PICTURES = ALONE | BESIDE_UNSEEN
DRAWS, UNSEEN = "noise draws", ("unseen pictures", "pictures never seen")


def remeasure_pictures(
    claim: Claim, subject: Subject, pictures: Pictures, config: EvaluateConfig
) -> Estimate:
    """A figure of `OF_PICTURES`; RequestError where it was measured on other terms."""
    result = claim.result
    if result.metric in BESIDE_UNSEEN and pictures.unseen is None:
        raise RequestError(
            f"{result.metric} needs pictures never seen, and the request names none: choose "
            "another metric, or 'none'."
        )
    if result.seeds != [config.seed, config.seed]:
        raise RequestError(
            f"{result.metric} was not measured with evaluate.seed={config.seed}, the seed of its "
            "run: choose another metric, or 'none'."
        )
    needed = {DRAWS} if result.metric != "nll" else {"tolerance of the likelihood"}
    needed |= set(UNSEEN if result.metric in BESIDE_UNSEEN else ())
    terms = picture_terms(pictures, 0.0, config)
    claim.require_terms({name: term for name, term in terms.items() if name in needed})
    return OF_PICTURES[result.metric](PictureProbe(subject, pictures, config))
