"""The networks that the settings name, read as views of samples."""

from __future__ import annotations

import torch

from efface.data.images import ImageSet, check_source, load_images, read_at
from efface.diffusion.model_folder import ModelInfo, sample_shape
from efface.errors import RequestError
from efface.evaluation.detection import concept_labels, load_detector
from efface.evaluation.store import Arrays, Store, digest_of_array
from efface.evaluation.views import ClipView, DetectorView, ExtractorView, JudgeView, View
from efface.metrics.clip import load_clip
from efface.metrics.extractors import Extractor, extract, load_extractor
from efface.metrics.judge import Judge
from efface.metrics.pixel_components import LARGEST, fit_components
from efface.metrics.pretrained import split_pin
from efface.settings.evaluate import EvaluateSettings


def read_views(
    judge: Judge | None,
    config: EvaluateSettings,
    shape: tuple[int, int, int] | None,
    device: torch.device,
    store: Store,
) -> dict[str, View]:
    """All that samples are to be seen with, by name.

    Real images are brought to the `shape` of the models' samples, where it is known. Raises
    DataError for a network or real images that cannot be read.
    """
    views: dict[str, View] = {}
    if judge is not None:
        views["judge"] = JudgeView(judge=judge.to(device))
    if config.reference is not None:
        if shape is None:
            real = load_images(config.reference)
        else:
            real = read_at(config.reference, shape, resize=True)
        network = fit_components(real.images) if config.extractor is None else load_vision(config)
        views["extractor"] = extractor_view(network.to(device), real, store)
    if config.clip is not None:
        views["clip"] = ClipView(clip=load_clip(*split_pin(config.clip)).to(device))
    if config.detector is not None:
        views["detector"] = DetectorView(
            detector=load_detector(config).to(device),
            labels=concept_labels(config),
            threshold=config.detector_threshold,
        )
    return views


def pixels_of(info: ModelInfo) -> tuple[int, int, int] | None:
    """(C, H, W) of the samples of a model that works on pixels; None for another."""
    return None if info.vae else sample_shape(info)


def check_networks(config: EvaluateSettings, info: ModelInfo) -> None:
    """Read what is to look at samples once, and see that real images are there.

    For before a run: DataError for what `read_views` could not use after it, RequestError for real
    images with which nothing could compare the samples.
    """
    if config.extractor is not None:
        load_vision(config)
    if config.reference is not None:
        check_source(config.reference)
        shape = pixels_of(info)
        if config.extractor is None and (shape is None or max(shape[1:]) > LARGEST):
            raise RequestError(
                "evaluate.reference has no effect without evaluate.extractor for samples that are "
                f"larger than {LARGEST} x {LARGEST} pixels: give a vision model too."
            )
    if config.clip is not None:
        load_clip(*split_pin(config.clip))
    if config.detector is not None:
        load_detector(config)


def load_vision(config: EvaluateSettings) -> Extractor:
    assert config.extractor is not None
    return load_extractor(*split_pin(config.extractor))


def extractor_view(network: Extractor, real: ImageSet, store: Store) -> ExtractorView:
    """A network with what it sees in real images."""
    images = real.images

    def look() -> Arrays:
        features, spatial = extract(network, (rows.float() / 255 for rows in images.split(250)))
        return {"features": features, "spatial": spatial}

    key = {"extractor": network.sha256, "images": digest_of_array(images.numpy())}
    seen = store.measured(key, look)
    return ExtractorView(
        network=network,
        real=seen["features"],
        real_spatial=seen["spatial"],
        labels=None if real.labels is None else real.labels.numpy(),
    )
