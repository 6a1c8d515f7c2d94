"""Has a model memorised these images? Asked before anything is forgotten."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import jinja2
import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from efface.data.images import ImageSet, to_model
from efface.data.split import COPY_SHARE, distances, pixel_hash
from efface.diffusion.loading import load
from efface.diffusion.model_folder import ModelInfo, inspect_model
from efface.diffusion.sampling import MultiStep, draw_images
from efface.errors import DataError, RequestError
from efface.evaluation.grids import save_grid
from efface.evaluation.sample_sets import Subject
from efface.evaluation.store import Store
from efface.evaluation.wording import as_csv
from efface.files import require_empty
from efface.metrics.copy_rate import calibrate_distance
from efface.metrics.membership_gap import MembershipGap, loss_timesteps, membership_gap
from efface.progress import Bar
from efface.requests.images.probe import Probe
from efface.requests.images.request import ForgetImages
from efface.requests.images.settings import ImageSettings
from efface.settings.base import Settings, read_settings

FALSE_ALARMS = 0.05  # share of unseen images that may be called memorised
UNSEEN = 400  # images at most
DRAWS = 4
MEMORISED = "memorised"
LEAST_UNSEEN = 59  # fewer cannot show a p-value of FALSE_ALARMS / 3


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One image: what was measured of it, and what that amounts to."""

    name: str
    sha256: str
    verdict: str  # MEMORISED or "not distinguishable from unseen"
    loss: float
    loss_p: float  # share of unseen images with so low a loss
    similarity: float
    similarity_p: float  # share of unseen images reconstructed so well
    nearest: float  # L2 distance of the nearest sample, pixels from 0 to 1
    copies: int  # samples nearer to it than half of its distance to the nearest unseen image
    copies_p: float  # share of unseen images with so many


@dataclass(frozen=True, eq=False, kw_only=True)
class Triage:
    """All findings, and how far they can be relied on."""

    model: str
    findings: list[Finding]
    samples: int
    unseen: int  # images that verdicts were calibrated on
    false_alarm_rate: float  # measured on as many unseen images that took no part in that
    false_alarm_images: int
    membership: MembershipGap


@dataclass(frozen=True, eq=False, kw_only=True)
class Scores:
    """What was measured of a group of N images."""

    losses: np.ndarray  # (N, T)
    similarity: np.ndarray  # (N,)
    copies: np.ndarray  # (N,) samples that copy it


def triage(
    model: str | Path,
    images: str,
    unseen: str,
    out: str | Path | None = None,
    changes: list[str] | None = None,
    image_column: str | None = None,
) -> Triage:
    """Compare images with ones that the model has never seen; writes a folder `out`.

    Half of the unseen images calibrate the verdicts (a p-value each for loss, similarity and
    copies, the smallest times three), the other half measures how often they raise a false alarm.
    Raises DataError where there are too few.
    """
    if out is not None:
        require_empty(Path(out))
    request = ForgetImages(images=images, unseen=unseen, image_column=image_column)
    settings, info, forget, others = _read(model, request, changes or [])
    config, own = settings.evaluate, settings.of(ImageSettings)
    if len(others) < 2 * LEAST_UNSEEN:
        raise DataError(
            f"{unseen} holds {len(others)} images: verdicts with a false-alarm rate of "
            f"{FALSE_ALARMS:.0%} need at least {2 * LEAST_UNSEEN} that the model has never seen."
        )
    denoiser = load(info).to(Accelerator().device)
    with Bar("sampling", own.samples, unit="images") as bar:
        seeds = range(config.seed, config.seed + own.samples)
        sampler = MultiStep.within(denoiser, config.baseline_steps)
        samples = draw_images(denoiser, sampler, None, seeds, on_batch=bar.advance)
    calibrate_distance(forget.images, others.images)  # refuses unseen images that are not
    order = torch.randperm(len(others), generator=torch.Generator().manual_seed(0))
    order = order[: min(UNSEEN, len(others)) // 2 * 2]

    subject = Subject(denoiser=denoiser, sampler=sampler)
    probe = Probe(subject=subject, own=own, seed=config.seed, store=Store(None))

    def measure(group: Tensor) -> tuple[Scores, Tensor]:
        near = distances(samples, group)  # (samples, N)
        return _measure(probe, group, near < _reach(group, others.images)), near

    scores, near = measure(forget.images)
    calibration, _ = measure(others.images[order[::2]])
    check, _ = measure(others.images[order[1::2]])
    _, alarms = _judge(check, calibration)
    result = Triage(
        model=info.source,
        findings=_findings(forget, scores, near, calibration),
        samples=own.samples,
        unseen=len(calibration.similarity),
        false_alarm_rate=float(alarms.mean()),
        false_alarm_images=len(alarms),
        membership=membership_gap(
            scores.losses,
            np.concatenate([calibration.losses, check.losses]),
            loss_timesteps(denoiser.schedule.num_timesteps),
        ),
    )
    if out is not None:
        _write(Path(out), result, forget.images, samples, near)
    return result


def _read(
    model: str | Path, request: ForgetImages, changes: list[str]
) -> tuple[Settings, ModelInfo, ImageSet, ImageSet]:
    """Settings, the model's configuration, and both groups of images at its size."""
    settings = read_settings(
        request.section, request.own, changes=changes, default_method=request.default_method
    ).changed({"images.draws": DRAWS})
    request.check_files()
    info = inspect_model(model)
    request.check(info, settings)
    material = request.read(info, settings)
    assert material.unseen is not None  # the request names them
    return settings, info, material.split.forget, material.unseen


def _reach(images: Tensor, unseen: Tensor) -> Tensor:
    """How near a copy of each image is, (K,): half of its distance to the nearest other one."""
    between = distances(unseen, images)
    return COPY_SHARE * between.masked_fill(between == 0, torch.inf).min(0).values


def _measure(probe: Probe, images: Tensor, near: Tensor) -> Scores:
    """Scores of images of which samples are so near that they are copies: (samples, N) bool."""
    x = to_model(images)
    return Scores(
        losses=probe.losses(x)["losses"],
        similarity=probe.put_back(x)["similarities"],
        copies=near.sum(0).numpy(),
    )


def _judge(scores: Scores, unseen: Scores) -> tuple[np.ndarray, np.ndarray]:
    """p-values (N, 3) of loss, similarity and copies against unseen images, and who is memorised.

    Those for which one of the three is low enough (Bonferroni), (N,) bool.
    """
    p_values = np.stack(
        [
            _p_value(scores.losses.mean(1), unseen.losses.mean(1)),
            _p_value(-scores.similarity, -unseen.similarity),
            _p_value(-scores.copies, -unseen.copies),
        ],
        axis=1,
    )
    return p_values, 3 * p_values.min(1) <= FALSE_ALARMS


def _p_value(scores: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """Share of unseen scores that are as low, the scored one counted in: (N,)."""
    return ((unseen[None] <= scores[:, None]).sum(1) + 1) / (len(unseen) + 1)


def _findings(forget: ImageSet, scores: Scores, near: Tensor, unseen: Scores) -> list[Finding]:
    p_values, memorised = _judge(scores, unseen)
    return [
        Finding(
            name=name,
            sha256=pixel_hash(forget.images[i]),
            verdict=MEMORISED if memorised[i] else "not distinguishable from unseen",
            loss=float(scores.losses[i].mean()),
            loss_p=float(p_values[i, 0]),
            similarity=float(scores.similarity[i]),
            similarity_p=float(p_values[i, 1]),
            nearest=float(near[:, i].min()),
            copies=int(scores.copies[i]),
            copies_p=float(p_values[i, 2]),
        )
        for i, name in enumerate(forget.names)
    ]


def _write(out: Path, result: Triage, images: Tensor, samples: Tensor, near: Tensor) -> None:
    """triage.json, triage.csv, and a page with each image beside its nearest samples."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        content = json.dumps({"schema": 1} | asdict(result), indent=2) + "\n"
        (out / "triage.json").write_text(content, encoding="utf-8")
        table = as_csv(asdict(finding) for finding in result.findings)
        (out / "triage.csv").write_text(table, encoding="utf-8", errors="replace", newline="")
        shown = near.topk(min(5, len(samples)), dim=0, largest=False).indices.T  # (K, 5)
        rows = [
            torch.cat([images[i : i + 1].float() / 255, samples[shown[i]]])
            for i in range(len(images))
        ]
        save_grid(torch.cat(rows), 1 + shown.shape[1], out / "nearest.png")
        (out / "triage.html").write_text(_page(result), encoding="utf-8", errors="replace")
    except OSError as error:
        raise RequestError(f"{out} cannot be written ({error.strerror}): give another.") from error


def _page(result: Triage) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("triage.html.jinja").render(triage=result)
