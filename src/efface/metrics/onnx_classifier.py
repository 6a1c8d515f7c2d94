"""A user's own classifier: an ONNX file, run on the CPU by `onnxruntime` (extra `onnx`)."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from efface.errors import DataError
from efface.metrics.judge import Classifier, Judge, foreign_judge
from efface.metrics.label_map import LabelMap, read_label_map
from efface.metrics.pretrained import check_digest, hash_files

OUTSIDE = b"\n\x08location\x12"  # begins the name of a file that holds weights instead
NEAR = 1e-4  # outputs that come so close to 1 in sum are probabilities


@dataclass(frozen=True, eq=False, kw_only=True)
class OnnxClassifier(Classifier):
    session: Any
    labels: LabelMap
    outputs: tuple[str, str]  # of features and of logits

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        takes, given = self.session.get_inputs()[0], self.labels.prepare(images)
        parts = given.split(1 if takes.shape[0] == 1 else len(given))
        seen = [self.session.run(list(self.outputs), {takes.name: p.numpy()}) for p in parts]
        features, logits = (torch.cat([torch.from_numpy(s[i]) for s in seen]) for i in (0, 1))
        return features.flatten(1).float(), logits.float()


def load_onnx(path: Path, sha256: str | None = None) -> Judge:
    """The judge of a file and the label map beside it; DataError for what cannot judge."""
    labels = read_label_map(path)
    try:
        runtime = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    except ImportError as error:
        raise DataError(
            "an ONNX classifier needs the extra 'onnx': pip install 'efface[onnx]'."
        ) from error
    kinds = (kind for kind in vars(runtime).values() if isinstance(kind, type))
    failures = tuple(kind for kind in kinds if issubclass(kind, Exception))
    shape = (len(labels.mean), *labels.size)
    try:
        digest = hash_files([path, path.with_suffix(".json")])
        check_digest(path, digest, sha256)
        classifier = _open(path, labels)
        logits = classifier.look(torch.full((1, *shape), 0.5))[1]
    except (*failures, OSError, ValueError, RuntimeError, LookupError) as error:
        raise DataError(
            f"{path} cannot be run on an image of shape {shape} ({type(error).__name__}): export "
            "it with one float input (batch, channels, height, width), whose batch is free or 1, "
            f"or correct `size`, `mean` and `features` in {path.stem}.json."
        ) from error
    if logits.shape != (1, len(labels.labels)):
        raise DataError(
            f"{path} gives outputs of shape {tuple(logits.shape)} for one image, and its label map "
            f"has {len(labels.labels)} labels: correct {path.stem}.json."
        )
    if not logits.isfinite().all():
        raise DataError(f"{path} gives outputs that are no finite numbers: export it again.")
    if logits.min() >= 0 and abs(float(logits.sum()) - 1) < NEAR:
        raise DataError(f"{path} gives probabilities, not logits: export it without its softmax.")
    return foreign_judge(classifier, path.stem, digest, labels.labels)


def _open(path: Path, labels: LabelMap) -> OnnxClassifier:
    """Open a file; DataError for weights in others."""
    import onnxruntime

    content, options = path.read_bytes(), onnxruntime.SessionOptions()
    if OUTSIDE in content:  # the digest would not cover them
        raise DataError(f"{path} has weights in other files: export it with external_data=False.")
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what fails is raised
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    logits = next((name for name in outputs if name != labels.features), outputs[0])
    seen = labels.features or logits, logits
    return OnnxClassifier(session=session, labels=labels, outputs=seen)
