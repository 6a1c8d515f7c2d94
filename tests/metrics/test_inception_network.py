"""Inception-v3 against the published layout written out, with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from efface.errors import DataError
from efface.files import hash_file
from efface.metrics.extractors import INCEPTION, extract, load_extractor, load_inception
from efface.metrics.inception_network import InceptionV3, kept_weights, resize_as_tensorflow


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """Random, at a scale that lets signals through, with running means that matter."""
    torch.manual_seed(0)
    network = InceptionV3()
    for name, value in network.state_dict().items():
        if name.endswith("conv.weight"):
            value.normal_(0, (2 / value[0].numel()) ** 0.5)
        elif name.endswith(("bn.bias", "running_mean")):
            value.normal_(0, 0.1)
    return network.state_dict() | {
        "fc.weight": torch.zeros(1008, 2048),
        "fc.bias": torch.zeros(1008),
    }


@pytest.fixture(scope="module")
def file(weights, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "inception.safetensors"
    save_file(weights, path)
    return path


class Published:
    """The graph of FID's Inception-v3, line by line, on a dictionary of weights."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.weights = weights

    def conv(
        self, x: Tensor, name: str, stride: int = 1, padding: tuple[int, int] = (0, 0)
    ) -> Tensor:
        x = F.conv2d(x, self.weights[f"{name}.conv.weight"], None, stride, padding)
        mean, var, scale, shift = (
            self.weights[f"{name}.bn.{key}"].view(1, -1, 1, 1)
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        return ((x - mean) / (var + 0.001).sqrt() * scale + shift).clamp(min=0)

    def average(self, x: Tensor) -> Tensor:
        """3 x 3, over what is inside of the image alone."""
        ones = torch.ones_like(x[:1, :1])
        return F.avg_pool2d(x, 3, 1, 1) / F.avg_pool2d(ones, 3, 1, 1)

    def block_a(self, x: Tensor, m: str) -> Tensor:
        five = self.conv(self.conv(x, f"{m}.branch5x5_1"), f"{m}.branch5x5_2", padding=(2, 2))
        three = self.conv(
            self.conv(x, f"{m}.branch3x3dbl_1"), f"{m}.branch3x3dbl_2", padding=(1, 1)
        )
        three = self.conv(three, f"{m}.branch3x3dbl_3", padding=(1, 1))
        pool = self.conv(self.average(x), f"{m}.branch_pool")
        return torch.cat([self.conv(x, f"{m}.branch1x1"), five, three, pool], 1)

    def block_b(self, x: Tensor, m: str) -> Tensor:
        three = self.conv(
            self.conv(x, f"{m}.branch3x3dbl_1"), f"{m}.branch3x3dbl_2", padding=(1, 1)
        )
        three = self.conv(three, f"{m}.branch3x3dbl_3", 2)
        return torch.cat([self.conv(x, f"{m}.branch3x3", 2), three, F.max_pool2d(x, 3, 2)], 1)

    def block_c(self, x: Tensor, m: str) -> Tensor:
        one = self.conv(x, f"{m}.branch1x1")
        y = self.conv(x, f"{m}.branch7x7_1")
        y = self.conv(y, f"{m}.branch7x7_2", padding=(0, 3))
        y = self.conv(y, f"{m}.branch7x7_3", padding=(3, 0))
        z = self.conv(x, f"{m}.branch7x7dbl_1")
        for number, padding in ((2, (3, 0)), (3, (0, 3)), (4, (3, 0)), (5, (0, 3))):
            z = self.conv(z, f"{m}.branch7x7dbl_{number}", padding=padding)
        return torch.cat([one, y, z, self.conv(self.average(x), f"{m}.branch_pool")], 1)

    def block_d(self, x: Tensor, m: str) -> Tensor:
        three = self.conv(self.conv(x, f"{m}.branch3x3_1"), f"{m}.branch3x3_2", 2)
        seven = self.conv(x, f"{m}.branch7x7x3_1")
        seven = self.conv(seven, f"{m}.branch7x7x3_2", padding=(0, 3))
        seven = self.conv(seven, f"{m}.branch7x7x3_3", padding=(3, 0))
        seven = self.conv(seven, f"{m}.branch7x7x3_4", 2)
        return torch.cat([three, seven, F.max_pool2d(x, 3, 2)], 1)

    def block_e(self, x: Tensor, m: str, pooled: Tensor) -> Tensor:
        y = self.conv(x, f"{m}.branch3x3_1")
        z = self.conv(self.conv(x, f"{m}.branch3x3dbl_1"), f"{m}.branch3x3dbl_2", padding=(1, 1))
        parts = [
            self.conv(x, f"{m}.branch1x1"),
            self.conv(y, f"{m}.branch3x3_2a", padding=(0, 1)),
            self.conv(y, f"{m}.branch3x3_2b", padding=(1, 0)),
            self.conv(z, f"{m}.branch3x3dbl_3a", padding=(0, 1)),
            self.conv(z, f"{m}.branch3x3dbl_3b", padding=(1, 0)),
            self.conv(pooled, f"{m}.branch_pool"),
        ]
        return torch.cat(parts, 1)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, 299, 299), scaled to about [-1, 1] -> features, mixed_6/conv."""
        x = self.conv(self.conv(x, "Conv2d_1a_3x3", 2), "Conv2d_2a_3x3")
        x = F.max_pool2d(self.conv(x, "Conv2d_2b_3x3", padding=(1, 1)), 3, 2)
        x = F.max_pool2d(self.conv(self.conv(x, "Conv2d_3b_1x1"), "Conv2d_4a_3x3"), 3, 2)
        for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
            x = self.block_a(x, name)
        x = self.block_b(x, "Mixed_6a")
        for name in ("Mixed_6b", "Mixed_6c"):
            x = self.block_c(x, name)
        spatial = self.conv(x, "Mixed_6d.branch1x1")
        x = self.block_c(self.block_c(x, "Mixed_6d"), "Mixed_6e")
        x = self.block_d(x, "Mixed_7a")
        x = self.block_e(x, "Mixed_7b", self.average(x))
        x = self.block_e(x, "Mixed_7c", F.max_pool2d(x, 3, 1, 1))
        return x.mean((2, 3)), spatial


def test_features_are_those_of_the_published_graph(weights, file):
    """Relative difference at most 1e-4, of the largest feature."""
    levels = torch.randint(0, 256, (1, 3, 299, 299), generator=torch.Generator().manual_seed(2))
    features, spatial = extract(load_inception(file), [levels / 255])
    expected, conv = Published(weights)((levels - 128.0) / 128)
    assert features.shape == (1, 2048)
    assert spatial.shape == (1, 7 * 17 * 17)  # 2023, as published
    for own, other in ((features, expected), (spatial, conv[:, :7].flatten(1))):
        assert other.std() > 1e-2
        assert abs(own - other.numpy()).max() <= 1e-4 * float(other.abs().max())


def test_the_network_has_as_many_weights_as_the_published_one():
    """27,161,264 of torchvision's without its auxiliary (3,326,696) and last layer (2,049,000)."""
    with torch.device("meta"):
        count = sum(p.numel() for p in InceptionV3().parameters())
    assert count == 27_161_264 - 3_326_696 - 2_049_000


def test_images_are_resized_as_tensorflow_1_did():
    """Output i is at i H / size of the input: written out for one row."""
    row = torch.tensor([0.0, 10.0, 40.0])
    expected = [0, 5, 10, 25, 40, 40]  # at 0, 0.5, 1, 1.5, 2 and 2.5, beyond the last
    resized = resize_as_tensorflow(row.expand(1, 1, 3, 3), 6)
    assert resized[0, 0, 4].tolist() == pytest.approx(expected)
    assert resize_as_tensorflow(row.view(1, 1, 3, 1).expand(1, 1, 3, 3), 6)[
        0, 0, :, 2
    ].tolist() == pytest.approx(expected)
    image = torch.rand(1, 3, 9, 9)
    torch.testing.assert_close(resize_as_tensorflow(image, 9), image)
    torch.testing.assert_close(resize_as_tensorflow(image, 3), image[:, :, ::3, ::3])


def test_a_file_is_named_by_its_checksum(file, tmp_path):
    found = load_extractor(file).described()
    assert found["name"] == INCEPTION and len(found["sha256"]) == 64
    assert load_extractor(file, found["sha256"]).sha256 == found["sha256"]
    with pytest.raises(DataError, match=f"has the checksum {found['sha256']}, not 00"):
        load_extractor(file, "00")
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(1)}, other)
    with pytest.raises(DataError, match="is no readable .* file of Inception-v3"):
        load_extractor(other)
    other.write_bytes(b"nothing")
    with pytest.raises(DataError, match="is no readable .* file of Inception-v3"):
        load_extractor(other)


def test_inception_is_the_published_network_with_the_weights_that_are_kept(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    kept_weights().parent.mkdir(parents=True)
    kept_weights().symlink_to(file)
    extractor = load_extractor("inception")
    assert (extractor.name, extractor.sha256) == (INCEPTION, hash_file(file))


@pytest.mark.network
def test_features_are_those_of_torch_fidelity() -> None:
    """With the published weights, against the package of the extra `perceptual`."""
    fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    reference = fidelity.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    images = torch.randint(0, 256, (4, 3, 40, 52), dtype=torch.uint8)
    (expected,) = reference(images)
    found, _ = load_extractor("inception").look(images / 255)
    assert ((found - expected).norm() / expected.norm()).item() <= 1e-4
