"""What sets one family of text-to-image pipelines apart from another (no torch)."""

from dataclasses import dataclass, replace
from typing import Any

UNET_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
JOINT_ATTENTION = (*UNET_ATTENTION, "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")


@dataclass(frozen=True, kw_only=True)
class TextFamily:
    """One row of the table of families.

    Text encoders are named by their subfolders; the tokenizer of `text_encoder_2` lies in
    `tokenizer_2`. What the network of some families is told beside the prompt stands under the
    same name in `encoding.py`.
    """

    name: str
    pipelines: tuple[str, ...]  # diffusers classes
    component: str  # subfolder of the network
    network: str  # diffusers class
    encoders: tuple[str, ...]
    encoded: tuple[str | None, ...]  # what `encode_prompt` returns, by the network's arguments
    added: tuple[str, ...] = ()  # arguments that go into the network's `added_cond_kwargs`
    optional: tuple[str, ...] = ()  # encoders that a folder may lack
    longest: int | None = None  # tokens that the T5 encoder is given
    lower_case: bool = False  # whether the pipeline strips prompts and writes them small
    spells_tokens: bool = False  # whether it writes a token of several vectors as several tokens
    flow: bool = False  # flow matching: alpha = 1 - sigma, the network predicts eps - x0
    scheduler_options: tuple[tuple[str, Any], ...] = ()  # that the pipeline sets in any scheduler
    even_steps: bool = False  # whether the pipeline itself hands 1, ..., 1/n to the scheduler
    guidance_scale: bool = True  # whether that argument of the pipeline turns guidance off at 1
    packed: bool = False  # whether the network takes tokens of 2 x 2 latents
    default_size: int | None = None  # latent height and width where the network does not say
    attention: tuple[str, ...]  # names of the attention's linear layers: what a LoRA adapts
    loads_lora: bool = True  # whether the stock pipeline can


SD = TextFamily(
    name="sd",
    pipelines=("StableDiffusionPipeline",),
    component="unet",
    network="UNet2DConditionModel",
    encoders=("text_encoder",),
    encoded=("encoder_hidden_states",),
    spells_tokens=True,
    scheduler_options=(("clip_sample", False), ("steps_offset", 1)),
    attention=UNET_ATTENTION,
)
SDXL = replace(
    SD,
    name="sdxl",
    pipelines=("StableDiffusionXLPipeline",),
    encoders=("text_encoder", "text_encoder_2"),
    encoded=("encoder_hidden_states", None, "text_embeds"),
    added=("text_embeds", "time_ids"),
    scheduler_options=(),
)
SD3 = TextFamily(
    name="sd3",
    pipelines=("StableDiffusion3Pipeline",),
    component="transformer",
    network="SD3Transformer2DModel",
    encoders=("text_encoder", "text_encoder_2", "text_encoder_3"),
    encoded=("encoder_hidden_states", None, "pooled_projections"),
    optional=("text_encoder_3",),
    longest=256,
    flow=True,
    attention=JOINT_ATTENTION,
)
FLUX = TextFamily(
    name="flux",
    pipelines=("FluxPipeline",),
    component="transformer",
    network="FluxTransformer2DModel",
    encoders=("text_encoder", "text_encoder_2"),
    encoded=("encoder_hidden_states", "pooled_projections"),
    longest=512,
    spells_tokens=True,
    flow=True,
    even_steps=True,
    guidance_scale=False,
    packed=True,
    default_size=128,
    attention=JOINT_ATTENTION,
)
PIXART_ALPHA = TextFamily(
    name="pixart_alpha",
    pipelines=("PixArtAlphaPipeline",),
    component="transformer",
    network="PixArtTransformer2DModel",
    encoders=("text_encoder",),
    encoded=("encoder_hidden_states", "encoder_attention_mask"),
    added=("resolution", "aspect_ratio"),
    longest=120,
    lower_case=True,
    attention=UNET_ATTENTION,
    loads_lora=False,
)
PIXART_SIGMA = replace(
    PIXART_ALPHA, name="pixart_sigma", pipelines=("PixArtSigmaPipeline",), longest=300
)
FAMILIES = {f.name: f for f in (SD, SDXL, SD3, FLUX, PIXART_ALPHA, PIXART_SIGMA)}
PIPELINES = {pipeline: family for family in FAMILIES.values() for pipeline in family.pipelines}

# Classes of transformers that are loaded by name; nothing else in a folder is.
ENCODER_CLASSES = ("CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel", "BertModel")
TOKENIZER_CLASSES = (
    "CLIPTokenizer",
    "CLIPTokenizerFast",
    "T5Tokenizer",
    "T5TokenizerFast",
    "BertTokenizer",
    "BertTokenizerFast",
    "PreTrainedTokenizerFast",
)


def family_of(pipeline: object) -> TextFamily | None:
    """The family of a pipeline's class name in model_index.json; None for all other pipelines."""
    return PIPELINES.get(pipeline) if isinstance(pipeline, str) else None


def tokenizer_of(encoder: str) -> str:
    return encoder.replace("text_encoder", "tokenizer")
