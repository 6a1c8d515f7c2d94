"""Requests about memorised pictures: what is read, what is prepared, what the loop is fed with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from efface.data.bank import ImageBank
from efface.data.prompts import fill_templates, read_prompts, spread
from efface.data.randomness import derive_seed
from efface.data.source import PairSource, Staying
from efface.data.split import pixel_hash
from efface.diffusion.denoiser import Condition, Denoiser
from efface.diffusion.model_folder import ModelInfo, drawn_shape
from efface.diffusion.sampling import MultiStep, rows_at_once
from efface.diffusion.text.denoiser import TextDenoiser
from efface.errors import ConfigError, DataError, RequestError
from efface.memory.footprint import latent_shape
from efface.methods.image_method import SubtractingMethod
from efface.records import RunRecord
from efface.requests.base import ForgetMemorised, read_request
from efface.requests.concept.prompts import ConceptPrompts, as_text_denoiser
from efface.requests.images.feed import read_images, to_model
from efface.requests.memorised.sampling import Drawing, seeds_for, to_unit
from efface.requests.memorised.separation import sides
from efface.requests.memorised.settings import MemorisedConfig
from efface.requests.memorised.similarity import load_features
from efface.requests.memorised.stages import Modified, Preparer, Stages
from efface.requests.memorised.stopping import CopyStopper
from efface.requests.memorised.verdict import Detection
from efface.settings.reading import Settings
from efface.training.guard import make_guard
from efface.training.networks import make_networks
from efface.training.trainer import Trainer

ENCODE_SEED = 9_100_000  # of the VAE's posterior
AT_ONCE = 32  # pictures in one pass of the VAE
PUBLISHED_LATENTS = (4, 64, 64)  # of Stable Diffusion 1.x


@dataclass(frozen=True, eq=False, kw_only=True)
class MemorisedInputs:
    """What was read from disk: the picture, where it is at hand, and prompts.

    The verdict compares with `controls`, whose pictures training may keep. `others` were given
    besides, and training sees nothing of them.
    """

    picture: Tensor | None  # (C, H, W) uint8
    asked: tuple[str, ...]  # the prompt, and the modified one where it was given
    controls: tuple[str, ...]
    others: tuple[str, ...] = ()

    @property
    def prompts(self) -> ConceptPrompts:
        """All prompts of a request, for a check of their lengths."""
        return ConceptPrompts(forget=self.asked, retain=(*self.controls, *self.others))

    @property
    def held_out(self) -> bool:
        """Whether what else the model draws can be measured on prompts that training never saw."""
        return len(self.others) >= len(self.controls)

    def elsewhere(self, samples: int) -> tuple[str, ...]:
        """At most `samples` prompts by which that is measured; for want of others the controls."""
        return tuple(spread(self.others, samples)) if self.held_out else self.controls

    @property
    def digest(self) -> str:
        picture = None if self.picture is None else pixel_hash(self.picture)
        content = json.dumps([picture, self.controls, self.others])
        return hashlib.sha256(content.encode()).hexdigest()

    def complete(self, request: ForgetMemorised) -> ForgetMemorised:
        """The request with a digest of its picture and control prompts."""
        return request.model_copy(update={"digest": self.digest})


def read_memorised(
    request: ForgetMemorised, info: ModelInfo, settings: Settings
) -> MemorisedInputs:
    """Read a request's picture and prompts; DataError or RequestError for what cannot be used."""
    picture = None
    if request.picture is not None:
        pictures = read_images(request.picture, drawn_shape(info), settings.images).images
        if len(pictures) != 1:
            raise DataError(
                f"{request.picture} holds {len(pictures)} pictures: one picture is memorised for "
                "one prompt, give that alone."
            )
        picture = pictures[0]
    asked = [request.prompt, *([request.modified_prompt] if request.modified_prompt else [])]
    known = {" ".join(prompt.casefold().split()) for prompt in asked}
    found = [p for p in _controls(request, settings) if " ".join(p.casefold().split()) not in known]
    found = list(dict.fromkeys(found))
    count = settings.memorised.controls
    if len(found) < count:
        raise RequestError(
            f"there are {len(found)} different control prompts and {count} are needed: give "
            "more with --control-prompts."
        )
    controls = tuple(spread(found, count))
    others = tuple(prompt for prompt in found if prompt not in set(controls))
    return MemorisedInputs(picture=picture, asked=tuple(asked), controls=controls, others=others)


def _controls(request: ForgetMemorised, settings: Settings) -> list[str]:
    if request.control_prompts is not None:
        return read_prompts(request.control_prompts)
    return fill_templates(settings.prompts.templates, list(settings.prompts.subjects))


def check_memorised_settings(settings: Settings) -> None:
    """Raise ConfigError for a method that does not work on pictures, or not under two prompts."""
    method = settings.method
    if "forget_images" not in method.needs:
        raise ConfigError(
            f"method {settings.method_name!r} does not forget pictures: use one that does, as siss."
        )
    if method.asks_prior and settings.memorised.original_share > 0:
        raise ConfigError(
            f"method {settings.method_name!r} as it is set needs to know how often the picture is "
            "drawn, and under the original prompt nothing else is: set memorised.original_share=0."
        )
    if _never_begins(settings):
        raise ConfigError(
            "method.retain_target='teacher' with method.rule_name='relative_norm' never begins "
            "here: the student equals its teacher, so that the gradient which keeps is 0 and any "
            "share of it as well; set method.retain_target=noise (to hold the rest, "
            "method.alone_target=teacher and memorised.control_share=0.5) or "
            "method.rule_name=fixed_norm."
        )
    if settings.train.stop_by != "loss":
        raise ConfigError(
            f"train.stop_by {settings.train.stop_by!r} compares with pictures that were never "
            "seen, and a memorised picture has none beside it: a run about one stops where its "
            "prompts draw it no more, leave the setting out."
        )


def check_published_norm(info: ModelInfo, settings: Settings, changes: Iterable[str]) -> None:
    """Raise ConfigError if the default's norm is taken for a model that it does not belong to.

    It is of a sum over latents, so that it grows with their number.
    """
    method = settings.method
    if not isinstance(method, SubtractingMethod) or method.rule_name != "fixed_norm":
        return
    chosen = any(change.partition("=")[0].strip() == "method.fixed_norm" for change in changes)
    shape = latent_shape(info)
    if not chosen and shape != PUBLISHED_LATENTS:
        raise ConfigError(
            f"method.fixed_norm {method.fixed_norm:g} is published for the 4x64x64 latents of "
            f"Stable Diffusion 1.x, and those of {info.source} are {'x'.join(map(str, shape))}: "
            "set method.rule_name=relative_norm, which needs no such number, or a "
            "method.fixed_norm of this model's own."
        )


def _never_begins(settings: Settings) -> bool:
    """Whether forgetting is a share of a retain gradient that is 0 in all rows at the start."""
    method = settings.method
    if not isinstance(method, SubtractingMethod) or method.rule_name != "relative_norm":
        return False
    staying = int(settings.train.batch_size * settings.memorised.control_share)
    taught = method.alone_target == "teacher" or staying == 0
    return method.retain_target == "teacher" and taught


def recorded_inputs(record: RunRecord, info: ModelInfo, settings: Settings) -> MemorisedInputs:
    """The inputs of a run, read again; RequestError where they have changed since."""
    request = read_request(ForgetMemorised, record.request)
    inputs = read_memorised(request, info, settings)
    if inputs.digest != request.digest:
        raise RequestError(
            "the picture or control prompts of this run are no longer what they were: restore "
            "them, or run again."
        )
    return inputs


def memorised_sampler(settings: Settings) -> MultiStep:
    """How all pictures of a request are drawn, before and after."""
    return MultiStep(settings.evaluate.baseline_steps, guidance=settings.evaluate.guidance)


def memorised_trainer(
    denoiser: Denoiser,
    inputs: MemorisedInputs,
    settings: Settings,
    out: Path,
    accelerator: Accelerator,
) -> tuple[Trainer, dict[str, Any]]:
    """Prepare in `out`, which exists, and set up training; also what to note in the record.

    Raises RequestError where nothing is memorised or no prompt draws the picture sometimes, and
    DataError where its samples cannot be parted.
    """
    config, (prompt, *given) = settings.memorised, inputs.asked
    model = as_text_denoiser(denoiser).to(accelerator.device)
    preparer = Preparer(
        stages=Stages(out, accelerator.is_main_process),
        drawing=Drawing(
            denoiser=model,
            sampler=memorised_sampler(settings),
            batch_size=settings.evaluate.batch_size,
        ),
        config=config,
        prompt=prompt,
        features=load_features(config.extractor, config.extractor_sha256, accelerator.device),
    )
    picture = None if inputs.picture is None else to_unit(inputs.picture)
    detected = preparer.detect(list(inputs.controls), picture)
    if not detected.detection.is_memorised and not config.force:
        raise RequestError(_nothing(detected.detection))
    modified = preparer.modify(detected, given[0] if given else None)
    images, separation = preparer.separate(detected, modified)
    forget, retain = sides(images, separation)
    controls = model.encode(list(inputs.controls))
    original = model.encode([prompt])
    model.encode(list(inputs.elsewhere(settings.evaluate.retain_samples)))  # for the evaluation
    model = model.without_encoders()
    source = pair_source(model, (forget, retain), (original, modified), settings)
    if config.control_share:
        staying = staying_pictures(model, controls, detected.controls, config)
        source = replace(source, staying=staying)
    method = settings.method
    networks = make_networks(method, model, settings.train)
    rows = source.forget_rows
    trainer = Trainer(method, networks, source, settings.train, out, rows, accelerator)
    trainer.guard = make_guard(method, model, controls, settings.train)
    prompts = [original] if modified.tried.way == "as it is" else [original, modified.condition]
    trainer.stopper = CopyStopper(
        detector=preparer.detector(detected),
        prompts=Condition.cat(prompts).to(accelerator.device),
        sampler=memorised_sampler(settings),
        seeds=seeds_for(config.seed, "stop", config.stop_images),
        batch_size=settings.evaluate.batch_size,
    )
    notes = _notes(detected.detection, modified) | {
        "copies": len(forget),
        "others": len(retain),
        "undecided": len(images) - len(forget) - len(retain),
        "split_agreement": separation.agreement,
    }
    return trainer, notes


def pair_source(
    denoiser: TextDenoiser,
    images: tuple[Tensor, Tensor],
    asked: tuple[Condition, Modified],
    settings: Settings,
) -> PairSource:
    """Latents of images to forget and of others (uint8), under the original and modified prompt."""
    config, (forget, retain), (original, modified) = settings.train, images, asked
    share = settings.memorised.original_share
    return PairSource(
        bank=ImageBank(
            encode_images(denoiser, retain),
            encode_images(denoiser, forget),
            len(forget) / (len(forget) + len(retain)),
        ),
        retain_rows=config.batch_size,
        forget_rows=round(settings.method.forget_share * config.batch_size),
        seed=derive_seed(config.seed, "images"),
        table=Condition.cat([original, modified.condition]),
        shares=(share, 1 - share),
    )


def staying_pictures(
    denoiser: TextDenoiser, controls: Condition, pictures: Tensor | None, config: MemorisedConfig
) -> Staying:
    """The pictures of control prompts that the verdict compared with, each under its prompt."""
    if pictures is None:
        raise DataError(
            "this run was prepared by an earlier version, which kept no pictures of control "
            "prompts: run again with --overwrite, or set memorised.control_share=0."
        )
    rows = torch.arange(len(controls)).repeat_interleave(config.control_images)
    return Staying(
        images=encode_images(denoiser, pictures),
        condition=controls[rows],
        share=config.control_share,
    )


@torch.no_grad()
def encode_images(denoiser: Denoiser, images: Tensor) -> Tensor:
    """Images (N, C, H, W) uint8 in model space, each encoded once; on the denoiser's device."""
    generator = torch.Generator().manual_seed(ENCODE_SEED)
    parts = [
        denoiser.codec.encode(to_model(part).to(denoiser.device), generator)
        for part in images.split(rows_at_once(denoiser, AT_ONCE))
    ]
    return torch.cat(parts)


def _notes(detection: Detection, modified: Modified) -> dict[str, Any]:
    tried = modified.tried
    return {
        "verdict": detection.verdict,
        "copies_before": detection.copies,
        "samples_before": detection.samples,
        "modified_by": tried.way,
        "modified_prompt": modified.called,
        "modified_share": tried.share,
        "prompts_tried": modified.count,
    }


def _nothing(detection: Detection) -> str:
    return (
        f"nothing memorised was found for this prompt: {detection.copies} of {detection.samples} "
        f"pictures are copies, its text-noise norm is {detection.norm:.3g} (p = "
        f"{detection.norm_p:.2g} among {detection.controls} control prompts) and the likeness of "
        f"its pictures {detection.likeness:.2g} (p = {detection.likeness_p:.2g}); there is nothing "
        "to forget, or set memorised.force=true to go on."
    )
