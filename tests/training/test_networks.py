"""The networks of a run: the method's, or adapters over one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from efface.diffusion.adapters import SharedNetwork
from efface.diffusion.text.denoiser import TextDenoiser
from efface.methods.sfd import SFD
from efface.training.networks import make_networks
from efface.training.settings import TrainSettings


@pytest.mark.parametrize("rank", [None, 2])
def test_trained_networks_are_adapters_where_a_rank_is_set(
    rank: int | None, text_model: Callable[..., TextDenoiser]
) -> None:
    networks = make_networks(SFD(), text_model("sd", fresh=True), TrainSettings(lora_rank=rank))
    assert list(networks) == ["teacher", "fake_score", "student"]
    for denoiser in networks.values():
        assert isinstance(denoiser.network, SharedNetwork) == (rank is not None)
    if rank is not None:
        sizes = {n: sum(p.numel() for p in d.network.parameters()) for n, d in networks.items()}
        assert sizes["teacher"] == 0 < sizes["student"] == sizes["fake_score"]
