"""The networks that the settings name, read as views of samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from efface.data.images import ImageSet, check_source, load_images, read_at
from efface.diffusion.class_networks import read_names, write_names
from efface.diffusion.model_folder import ModelInfo, sample_shape
from efface.errors import DataError, RequestError
from efface.evaluation.detection import concept_labels, load_detector
from efface.evaluation.store import Arrays, Store, digest_of_array
from efface.evaluation.views import ClipView, DetectorView, ExtractorView, JudgeView, View
from efface.metrics.clip import load_clip
from efface.metrics.extractors import Extractor, extract, load_extractor
from efface.metrics.intervals import proportion
from efface.metrics.judge import REFERENCE, Classifier, Judge
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
    """All that samples are to be measured with, by name.

    Real images are brought to the `shape` of the models' samples, where it is known. Raises
    DataError for a network or real images that cannot be read.
    """
    views: dict[str, View] = {}
    real = None if config.reference is None else _read_real(config.reference, shape)
    if judge is not None:
        judge = judge.to(device)
        if real is not None and not len(judge.reference):
            judge = with_images(judge, real, store)
        views["judge"] = JudgeView(judge=judge)
    if real is not None and (config.extractor is not None or are_small(shape)):
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


def _read_real(source: str, shape: tuple[int, int, int] | None) -> ImageSet:
    return load_images(source) if shape is None else read_at(source, shape, resize=True)


def are_small(shape: tuple[int, int, int] | None) -> bool:
    """Whether principal components of pixels say enough of samples of this shape."""
    return shape is not None and max(shape[1:]) <= LARGEST


def check_networks(config: EvaluateSettings, info: ModelInfo, judge: Judge | None = None) -> None:
    """Read what is to look at samples once, and see that real images are there.

    For before a run: DataError for what `read_views` could not use after it, RequestError for real
    images with which nothing could compare the samples.
    """
    if config.extractor is not None:
        load_vision(config)
    if config.reference is not None:
        check_source(config.reference)
        foreign = judge is not None and not len(judge.reference)  # compares with them itself
        if config.extractor is None and not foreign and not are_small(pixels_of(info)):
            raise RequestError(
                "evaluate.reference has no effect without evaluate.extractor for samples that are "
                f"larger than {LARGEST} x {LARGEST} pixels: give a vision model too."
            )
    if config.clip is not None:
        load_clip(*split_pin(config.clip))
    if config.detector is not None:
        load_detector(config)


def with_images(judge: Judge, real: ImageSet, store: Store) -> Judge:
    """A foreign classifier with what it sees in real images; DataError for labels of others.

    How often it is right on them is no held-out accuracy: nobody knows what it was trained on.
    """
    rows = _own_labels(judge, real)
    seen = _look(judge.classifier, f"judge {judge.digest}", real, store)
    config = judge.config
    if rows is not None:
        right = proportion(int((seen["spatial"].argmax(1) == rows).sum()), len(rows))
        figures = (right.value, [right.low, right.high], len(rows))
        config = config | dict(zip(REFERENCE, figures, strict=True))
    return replace(
        judge,
        config=config,
        reference=seen["features"],
        reference_labels=np.full(len(real), -1) if rows is None else np.array(judge.labels)[rows],
        reference_digest=digest_of_array(seen["features"]),
    )


def _own_labels(judge: Judge, real: ImageSet) -> np.ndarray | None:
    """Labels of images by a classifier's own numbers, (N,): by name where both have names."""
    if real.labels is None:
        return None
    names = {name.casefold(): row for row, name in read_names(judge.config).items()}
    given = [name.casefold() for name in write_names(real.label_names).values()]
    rows = real.labels.numpy()
    if names and given and set(given) <= names.keys():
        return np.array([names[name] for name in given])[rows]
    if (names and given) or rows.max() >= len(judge.labels):
        raise DataError(
            f"the labels of evaluate.reference are not those of the classifier {judge.name}: give "
            "real images of the same labels, or without labels."
        )
    return rows


def load_vision(config: EvaluateSettings) -> Extractor:
    assert config.extractor is not None
    return load_extractor(*split_pin(config.extractor))


def extractor_view(network: Extractor, real: ImageSet, store: Store) -> ExtractorView:
    """A network with what it sees in real images."""
    seen = _look(network, network.sha256, real, store)
    return ExtractorView(
        network=network,
        real=seen["features"],
        real_spatial=seen["spatial"],
        labels=None if real.labels is None else real.labels.numpy(),
    )


def _look(network: Extractor | Classifier, called: str, real: ImageSet, store: Store) -> Arrays:
    images = real.images

    def look() -> Arrays:
        features, spatial = extract(network, (rows.float() / 255 for rows in images.split(250)))
        return {"features": features, "spatial": spatial}

    return store.measured({"extractor": called, "images": digest_of_array(images.numpy())}, look)
