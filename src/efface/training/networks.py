"""The networks of a run: copies of the pretrained one, or adapters over it."""

from efface.data.randomness import derive_seed
from efface.diffusion.adapters import SharedNetwork, attention_of, share_network
from efface.diffusion.denoiser import Denoiser
from efface.methods.base import Method
from efface.training.settings import TrainSettings


def make_networks(
    method: Method, pretrained: Denoiser, settings: TrainSettings
) -> dict[str, Denoiser]:
    """The method's networks; with `train.lora_rank`, all stand on one, and the trained get a LoRA.

    Raises ConfigError where a LoRA finds nothing to change.
    """
    if settings.lora_rank is None:
        return method.networks(pretrained)
    if not isinstance(pretrained.network, SharedNetwork):
        pretrained = share_network(pretrained)
    assert isinstance(pretrained.network, SharedNetwork)
    networks = method.networks(pretrained)
    for phase in method.phases:
        view = pretrained.network.adapted(
            attention_of(pretrained),
            settings.lora_rank,
            settings.lora_alpha or settings.lora_rank,
            derive_seed(settings.seed, "lora", phase),
        )
        networks[phase] = networks[phase].with_network(view)
    return networks
