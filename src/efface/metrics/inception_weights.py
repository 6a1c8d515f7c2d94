"""The weights of Inception-v3 that FID was published with: fetched once, kept as safetensors."""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from efface.errors import DataError
from efface.files import whole_file

# The conversion of TensorFlow's graph that is compared with everywhere; published as a pickle.
URL = (
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
    "pt_inception-2015-12-05-6726825d.pth"
)
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"


def kept_weights() -> Path:
    """Where the weights lie once they were fetched: in the folder of `torch.hub`."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    return folder / f"inception-v3-2015-12-05-{SHA256[:8]}.safetensors"


def inception_weights() -> Path:
    """A .safetensors file of the weights.

    What is fetched has to have the published checksum and is read as tensors alone
    (`weights_only`). DataError where it cannot be had.
    """
    kept = kept_weights()
    folder = kept.parent
    if kept.exists():
        return kept
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            fetched = Path(scratch) / "weights.pth"
            torch.hub.download_url_to_file(URL, str(fetched), hash_prefix=SHA256, progress=False)
            weights = torch.load(fetched, map_location="cpu", weights_only=True)
        with whole_file(kept) as part:
            save_file({name: tensor.contiguous() for name, tensor in weights.items()}, part)
    except (OSError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise DataError(
            f"the weights of Inception-v3 could not be had from {URL} ({type(error).__name__}): "
            "check the network, or give a .safetensors file of them."
        ) from error
    return kept
