"""Prompts of a text-to-image model to distil: all of them are retained."""

from __future__ import annotations

from efface.data.prompts import spread
from efface.diffusion.model_folder import ModelInfo
from efface.evaluation.detection import check_detector
from efface.requests.concept.material import PromptMaterial
from efface.requests.concept.prompts import ConceptPrompts, prompts_to_retain
from efface.requests.concept.settings import ConceptSettings
from efface.requests.distil.request import Distil, DistilSettings
from efface.settings.base import Settings


def read_prompts_to_retain(request: Distil, model: ModelInfo, settings: Settings) -> PromptMaterial:
    """The prompts of a file or data set, or templates, at most as many as the settings say."""
    check_detector(settings.evaluate)
    config = ConceptSettings.model_validate({})
    prompts = prompts_to_retain(request.retain_prompts, config)
    retain = spread(prompts, settings.of(DistilSettings).retain)
    material = PromptMaterial(prompts=ConceptPrompts(retain=tuple(retain)), config=config)
    material.check_lengths(model)
    return material
