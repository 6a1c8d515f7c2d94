"""Tiny real text-to-image pipelines of every family, as stock diffusers saves them."""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from efface.diffusion.loading import load
from efface.diffusion.model_folder import ModelInfo, inspect_model
from efface.diffusion.text.denoiser import TextDenoiser, as_text_denoiser

# Every kind of model that the table of families promises.
KINDS = ("sd", "sd_v", "sdxl", "sd3", "flux", "pixart_alpha", "pixart_sigma")
CHARACTERS = string.ascii_lowercase + string.digits + ".,"


def inspect_small(folder: Path) -> ModelInfo:
    """What a pipeline says of itself; FLUX has latents as small as the others'."""
    info = inspect_model(folder)
    sized = info.family is None or info.family.default_size is None or info.sample_size
    return info if sized else replace(info, sample_size=8)


def load_text(folder: Path, dtype: torch.dtype = torch.float32) -> TextDenoiser:
    """A tiny pipeline, FLUX with latents as small as the others'."""
    return as_text_denoiser(load(inspect_small(folder), dtype=dtype))


def clip_tokenizer() -> Any:
    """One token per character; 16 tokens at most."""
    tokens = [c + end for c in CHARACTERS for end in ("", "</w>")]
    vocabulary = {token: i for i, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=16)


def t5_tokenizer() -> Any:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("▁", -2.0)]
    pieces += [(c, -3.0) for c in CHARACTERS]
    return transformers.T5TokenizerFast(vocab=pieces, extra_ids=0)


def clip_encoder(projected: bool, seed: int) -> Any:
    torch.manual_seed(seed)
    size = len(clip_tokenizer())
    config = transformers.CLIPTextConfig(
        vocab_size=size,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        projection_dim=16,
        bos_token_id=size - 2,
        eos_token_id=size - 1,
        pad_token_id=size - 1,
    )
    kind = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    return kind(config).eval()


def t5_encoder() -> Any:
    torch.manual_seed(3)
    config = transformers.T5Config(
        vocab_size=len(t5_tokenizer()), d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2
    )
    # Built from a configuration it would be in training mode, with dropout.
    return transformers.T5EncoderModel(config).eval()


def vae(shift: float | None = None) -> Any:
    torch.manual_seed(4)
    return diffusers.AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=4,
        sample_size=16,
        scaling_factor=0.5,
        shift_factor=shift,
    ).eval()


def unet(**more: Any) -> Any:
    torch.manual_seed(5)
    common = {
        "sample_size": 8,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": 4,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 16,
    }
    return diffusers.UNet2DConditionModel(**(common | more)).eval()


def diffusion_scheduler(kind: str = "epsilon") -> Any:
    return diffusers.DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=kind,
    )


def stable_diffusion(kind: str = "epsilon", encoder: Any = None, tokenizer: Any = None) -> Any:
    return diffusers.StableDiffusionPipeline(
        vae=vae(),
        text_encoder=encoder or clip_encoder(False, 1),
        tokenizer=tokenizer or clip_tokenizer(),
        unet=unet(),
        scheduler=diffusion_scheduler(kind),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_bert() -> Any:
    words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "two", "bags", "coat")
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=12,
    )
    tokenizer = transformers.BertTokenizer(
        vocab={word: i for i, word in enumerate(words)}, model_max_length=12
    )
    return stable_diffusion("epsilon", transformers.BertModel(config).eval(), tokenizer)


def stable_diffusion_xl() -> Any:
    network = unet(
        cross_attention_dim=32,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=16 + 6 * 4,
    )
    return diffusers.StableDiffusionXLPipeline(
        vae=vae(),
        text_encoder=clip_encoder(False, 1),
        text_encoder_2=clip_encoder(True, 2),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=network,
        scheduler=diffusion_scheduler(),
    )


def stable_diffusion_3(with_t5: bool = True, **more: Any) -> Any:
    torch.manual_seed(6)
    network = diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=32,
        out_channels=4,
        pos_embed_max_size=8,
        **more,
    ).eval()
    return diffusers.StableDiffusion3Pipeline(
        transformer=network,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(0.1),
        text_encoder=clip_encoder(True, 1),
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip_encoder(True, 2),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=t5_encoder() if with_t5 else None,
        tokenizer_3=t5_tokenizer() if with_t5 else None,
    )


def stable_diffusion_35() -> Any:
    """As SD 3.5 is built: a second attention in some blocks, and norms of queries and keys."""
    return stable_diffusion_3(dual_attention_layers=(0,), qk_norm="rms_norm")


def flux(distilled_guidance: bool = True) -> Any:
    torch.manual_seed(7)
    network = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=16,
        guidance_embeds=distilled_guidance,
        axes_dims_rope=(4, 4, 8),
    ).eval()
    return diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=distilled_guidance
        ),
        vae=vae(0.1),
        text_encoder=clip_encoder(False, 1),
        tokenizer=clip_tokenizer(),
        text_encoder_2=t5_encoder(),
        tokenizer_2=t5_tokenizer(),
        transformer=network,
    )


def pixart(alpha: bool, told_size: bool = False) -> Any:
    torch.manual_seed(8)
    network = diffusers.PixArtTransformer2DModel(
        num_attention_heads=3 if told_size else 2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        cross_attention_dim=24 if told_size else 16,
        caption_channels=32,
        sample_size=8,
        patch_size=2,
        use_additional_conditions=told_size,
        norm_num_groups=4,
    ).eval()
    kind = diffusers.PixArtAlphaPipeline if alpha else diffusers.PixArtSigmaPipeline
    return kind(
        tokenizer=t5_tokenizer(),
        text_encoder=t5_encoder(),
        vae=vae(),
        transformer=network,
        scheduler=diffusion_scheduler(),
    )


BUILD: dict[str, Callable[[], Any]] = {
    "sd": stable_diffusion,
    "sd_v": lambda: stable_diffusion("v_prediction"),
    "sd_bert": stable_diffusion_bert,
    "sdxl": stable_diffusion_xl,
    "sd3": stable_diffusion_3,
    "sd3_without_t5": lambda: stable_diffusion_3(with_t5=False),
    "sd35": stable_diffusion_35,
    "flux": flux,
    "flux_schnell": lambda: flux(distilled_guidance=False),
    "pixart_alpha": lambda: pixart(alpha=True),
    "pixart_alpha_told_size": lambda: pixart(alpha=True, told_size=True),
    "pixart_sigma": lambda: pixart(alpha=False),
}
