"""The Inception-v3 of FID: the TensorFlow graph of 2015-12-05, which torchvision's differs from.

Average pools leave padding out, the last block pools by maximum, and images are resized as
TensorFlow 1 did. Names of weights are those of the published conversion.
"""

import pickle
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from efface.errors import DataError
from efface.files import whole_file

SIZE = 299
Kernel = int | tuple[int, int]
Step = tuple[int, Kernel] | tuple[int, Kernel, Kernel]  # width, kernel; two kernels: a fork
Branches = Mapping[str, Sequence[Step]]

_A: Branches = {
    "branch1x1": [(64, 1)],
    "branch5x5": [(48, 1), (64, 5)],
    "branch3x3dbl": [(64, 1), (96, 3), (96, 3)],
}
_B: Branches = {"branch3x3": [(384, 3)], "branch3x3dbl": [(64, 1), (96, 3), (96, 3)]}
_D: Branches = {
    "branch3x3": [(192, 1), (320, 3)],
    "branch7x7x3": [(192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3)],
}
_E: Branches = {
    "branch1x1": [(320, 1)],
    "branch3x3": [(384, 1), (384, (1, 3), (3, 1))],
    "branch3x3dbl": [(448, 1), (384, 3), (384, (1, 3), (3, 1))],
}
# The conversion of TensorFlow's graph that is compared with everywhere; published as a pickle.
URL = (
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
    "pt_inception-2015-12-05-6726825d.pth"
)
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"


def _c(width: int) -> Branches:
    """The branches of a block with 7 x 7 kernels in two parts."""
    flat, tall = (1, 7), (7, 1)
    return {
        "branch1x1": [(192, 1)],
        "branch7x7": [(width, 1), (width, flat), (192, tall)],
        "branch7x7dbl": [(width, 1), (width, tall), (width, flat), (width, tall), (192, flat)],
    }


class _Convolution(nn.Module):
    def __init__(
        self, width_in: int, width: int, kernel: Kernel, stride: int = 1, padded: bool = True
    ) -> None:
        super().__init__()
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (kernel[0] // 2, kernel[1] // 2) if padded else 0
        self.conv = nn.Conv2d(width_in, width, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(width, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))


class _Mixed(nn.ModuleDict):
    """Parallel branches and a pool, joined along the channels.

    Without `pool_width` the block halves the resolution: the last step of every branch and the
    pool have stride 2 and no padding.
    """

    def __init__(
        self, width_in: int, branches: Branches, pool_width: int | None, pool: nn.Module
    ) -> None:
        super().__init__()
        self._chains: list[list[list[str]]] = []
        for branch, steps in branches.items():
            width, chain = width_in, []
            for number, (width_out, *kernels) in enumerate(steps, 1):
                halves = pool_width is None and number == len(steps)
                place = f"{branch}_{number}" if len(steps) > 1 else branch
                names = [place] if len(kernels) == 1 else [f"{place}a", f"{place}b"]
                for name, kernel in zip(names, kernels, strict=True):
                    stride = 2 if halves else 1
                    self[name] = _Convolution(width, width_out, kernel, stride, not halves)
                chain.append(names)
                width = width_out * len(kernels)
            self._chains.append(chain)
        self._pool = pool
        self._chains.append([["branch_pool"]] if pool_width else [])
        if pool_width:
            self["branch_pool"] = _Convolution(width_in, pool_width, 1)

    def forward(self, x: Tensor) -> Tensor:
        *chains, after_pool = self._chains
        starts = [*((x, chain) for chain in chains), (self._pool(x), after_pool)]
        return torch.cat([self._follow(y, chain) for y, chain in starts], 1)

    def _follow(self, y: Tensor, chain: list[list[str]]) -> Tensor:
        for names in chain:
            y = torch.cat([self[name](y) for name in names], 1)
        return y


def _average() -> nn.Module:
    return nn.AvgPool2d(3, 1, 1, count_include_pad=False)


class InceptionV3(nn.Module):
    """Colour images (B, 3, H, W) from 0 to 255 -> features (B, 2048) and a map (B, 768, 17, 17)."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Convolution(3, 32, 3, stride=2, padded=False)
        self.Conv2d_2a_3x3 = _Convolution(32, 32, 3, padded=False)
        self.Conv2d_2b_3x3 = _Convolution(32, 64, 3)
        self.Conv2d_3b_1x1 = _Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = _Convolution(80, 192, 3, padded=False)
        self.Mixed_5b = _Mixed(192, _A, 32, _average())
        self.Mixed_5c = _Mixed(256, _A, 64, _average())
        self.Mixed_5d = _Mixed(288, _A, 64, _average())
        self.Mixed_6a = _Mixed(288, _B, None, nn.MaxPool2d(3, 2))
        self.Mixed_6b = _Mixed(768, _c(128), 192, _average())
        self.Mixed_6c = _Mixed(768, _c(160), 192, _average())
        self.Mixed_6d = _Mixed(768, _c(160), 192, _average())
        self.Mixed_6e = _Mixed(768, _c(192), 192, _average())
        self.Mixed_7a = _Mixed(768, _D, None, nn.MaxPool2d(3, 2))
        self.Mixed_7b = _Mixed(1280, _E, 192, _average())
        self.Mixed_7c = _Mixed(2048, _E, 192, nn.MaxPool2d(3, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features, and the output of mixed_6 (`Mixed_6d`), whose first 192 are its conv."""
        halve = nn.functional.max_pool2d
        x = (resize_as_tensorflow(images, SIZE) - 128) / 128
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(halve(x, 3, 2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(halve(x, 3, 2))))
        middle = self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(self.Mixed_6e(middle))))
        return x.mean((2, 3)), middle


def resize_as_tensorflow(images: Tensor, size: int) -> Tensor:
    """Bilinear interpolation of images (B, C, H, W) at i H / size, without half-pixel centres."""
    for dimension in (2, 3):
        length = images.shape[dimension]
        place = torch.arange(size, device=images.device) * (length / size)
        low = place.long()
        high = (low + 1).clamp(max=length - 1)
        weight = (place - low).to(images.dtype)
        weight = weight.view(-1, 1) if dimension == 2 else weight
        below, above = (images.index_select(dimension, rows) for rows in (low, high))
        images = below + (above - below) * weight
    return images


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
