"""A user's own classifier: an ONNX file, run by `onnxruntime` (extra `onnx`), and its label map."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from efface.errors import DataError
from efface.metrics.judge import Classifier, Judge, foreign_judge
from efface.metrics.label_map import LabelMap, read_label_map
from efface.metrics.pretrained import check_digest, hash_files

LOCATION = re.compile(rb"\n\x08location\x12(.)", re.DOTALL)  # where weights lie outside the file
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

    def to(self, device: torch.device | str) -> Self:
        return self  # onnxruntime runs on the CPU


def load_onnx(path: Path, sha256: str | None = None) -> Judge:
    """The judge of a file; DataError for what cannot be read, and for other inputs or outputs.

    Weights outside of the file lie in NAME.onnx.data. The digest is of all and of the label map.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}: give the ONNX file of a classifier.")
    labels = read_label_map(path)
    files = [path, path.with_suffix(".json"), path.with_name(f"{path.name}.data")]
    digest = hash_files(file for file in files if file.exists())
    check_digest(path, digest, sha256)
    try:
        runtime = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    except ImportError as error:
        raise DataError(
            "an ONNX classifier needs the extra 'onnx': pip install 'efface[onnx]'."
        ) from error
    kinds = (kind for kind in vars(runtime).values() if isinstance(kind, type))
    failures = tuple(kind for kind in kinds if issubclass(kind, Exception))
    try:
        classifier = _open(path, labels)
        logits = classifier.look(torch.full((1, 1, 8, 8), 0.5))[1]
    except (*failures, OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{path} cannot be run ({type(error).__name__}): export it again, with its weights "
            f"inside or in {path.name}.data."
        ) from error
    if logits.shape != (1, len(labels.labels)):
        raise DataError(
            f"{path} gives outputs of shape {list(logits.shape)} for one image, and its label map "
            f"has {len(labels.labels)} labels: correct {path.stem}.json."
        )
    if logits.min() >= 0 and abs(float(logits.sum()) - 1) < NEAR:
        raise DataError(f"{path} gives probabilities, not logits: export it without its softmax.")
    return foreign_judge(classifier, path.stem, digest, labels.labels)


def _open(path: Path, labels: LabelMap) -> OnnxClassifier:
    """Run the weights that were hashed, and no others; DataError for other inputs or outputs."""
    import onnxruntime

    content, options = path.read_bytes(), onnxruntime.SessionOptions()
    places = {content[m.end() : m.end() + m[1][0]] for m in LOCATION.finditer(content)}
    if places - {f"{path.name}.data".encode()}:
        raise DataError(f"{path} keeps weights in other files than {path.name}.data: join them.")
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what fails is raised
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs, outputs = session.get_inputs(), [output.name for output in session.get_outputs()]
    shape, allowed = inputs[0].shape, (1, len(labels.mean), *labels.size)
    wrong = [n for n, side in zip(shape, allowed, strict=False) if type(n) is int and n != side]
    if len(inputs) > 1 or len(shape) != 4 or wrong or inputs[0].type != "tensor(float)":
        raise DataError(
            f"{path} takes {len(inputs)} input(s), the first of shape {shape} ({inputs[0].type}): "
            f"export it with one float input (batch, {', '.join(map(str, allowed[1:]))}), as "
            f"{path.stem}.json says, and a batch that is free or 1."
        )
    names = [name for name in outputs if name != labels.features]
    if not names or labels.features not in (None, *outputs):
        raise DataError(
            f"{path} has the outputs {', '.join(outputs)}: name one of several as `features` in "
            f"{path.stem}.json, or leave it out."
        )
    seen = labels.features or names[0], names[0]
    return OnnxClassifier(session=session, labels=labels, outputs=seen)
