"""Whole runs, measuring included: no prompt is read twice, and no text encoder loaded twice."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from efface.diffusion.codec import VAECodec
from efface.diffusion.loading import load_text, save_pipeline
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.text.denoiser import TextDenoiser
from efface.diffusion.text.sharing import differ_in_network_alone
from efface.evaluation.subjects import read_subjects
from efface.records import read_evaluation, read_record
from efface.requests.base import ForgetMemorised
from efface.requests.concept.prompts import as_text_denoiser
from efface.requests.memorised.settings import MemorisedConfig
from efface.runs.forget import forget
from efface.settings.reading import read_settings
from tests.conftest import BAG, SMALL
from tests.diffusion.text.conftest import clip_tokenizer, t5_tokenizer
from tests.metrics.test_clip import folder as clip_folder  # noqa: F401
from tests.requests.memorised import test_runs as test_memorised_runs
from tests.requests.memorised.conftest import WORDS

Folders = Callable[[str], Path]
Read = dict[torch.nn.Module, list[tuple[int, ...]]]
ENCODERS = (
    transformers.CLIPTextModel,
    transformers.CLIPTextModelWithProjection,
    transformers.T5EncoderModel,
)
COUNTS = {"sd": 1, "sdxl": 2, "sd3": 3, "flux": 2}  # encoders of each family


@contextlib.contextmanager
def reading() -> Iterator[Read]:
    """The rows of tokens that each text encoder of a pipeline is given, by encoder.

    Encoders are held on to, so that one that is loaded again is another one. The CLIP that looks at
    pictures has words of its own, and is none of them.
    """
    read: Read = {}
    words = {len(clip_tokenizer()), len(t5_tokenizer())}

    def note(module: torch.nn.Module, args: Any, kwargs: Any, _output: Any) -> None:
        if isinstance(module, ENCODERS) and module.config.vocab_size in words:
            rows = args[0] if args else kwargs["input_ids"]
            read.setdefault(module, []).extend(map(tuple, rows.tolist()))

    handle = torch.nn.modules.module.register_module_forward_hook(note, with_kwargs=True)
    try:
        yield read
    finally:
        handle.remove()
    # One with a projection has one without inside.
    for inside in {part for encoder in read for part in encoder.modules() if part is not encoder}:
        read.pop(inside, None)


@pytest.fixture
def model(pipelines: Folders, tmp_path: Path) -> Folders:
    """Folder of a family's tiny model; FLUX names its size where it was saved with one."""

    def folder(kind: str) -> Path:
        if kind != "flux":
            return pipelines(kind)
        save_pipeline(load_text(pipelines(kind), 8), tmp_path / kind)
        return tmp_path / kind

    return folder


def retrained(model: Path, folder: Path) -> Path:
    """The same pipeline with other weights of its network."""
    shutil.copytree(model, folder)
    (part,) = (p for p in (folder / "unet", folder / "transformer") if p.is_dir())
    (file,) = part.glob("*.safetensors")
    weights = {name: tensor * 1.01 for name, tensor in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
    return folder


def assert_read_once(read: Read, encoders: int, prompts: int) -> None:
    assert len(read) == encoders
    for module, rows in read.items():
        assert len(rows) == len(set(rows)) == prompts, type(module).__name__


@pytest.mark.slow
@pytest.mark.parametrize("kind", COUNTS)
def test_a_run_that_is_guarded_and_measured_beside_a_retrained_model_reads_each_prompt_once(
    model: Folders,
    clip_folder: Path,  # noqa: F811
    tmp_path: Path,
    kind: str,
) -> None:
    folder = model(kind)
    other = retrained(folder, tmp_path / "retrained")
    changes = [*SMALL, "train.guard_every=2", f"evaluate.clip={str(clip_folder)!r}"]
    with reading() as read:
        run = forget(folder, BAG, tmp_path / "run", changes=changes, retrained=other)
    assert_read_once(read, COUNTS[kind], 5)  # a bag, a cat, a dog, a coat and the empty prompt
    rates = read_evaluation(run).get("concept_rate")
    assert rates is not None and rates.retrained is not None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sd", "sd3"])
def test_a_run_about_a_memorised_picture_reads_each_prompt_once(
    model: Folders, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "controls.txt").write_text("\n".join(WORDS))
    request = ForgetMemorised(
        prompt="a red bag", modified_prompt="a bag", control_prompts=str(tmp_path / "controls.txt")
    )
    changes = [*test_memorised_runs.SMALL, "memorised.split=kmeans"]
    with reading() as read:
        forget(model(kind), request, tmp_path / "run", changes=changes)
    # Its control prompts, both prompts and the empty one.
    assert_read_once(read, COUNTS[kind], MemorisedConfig().controls + 3)


def test_other_encoders_of_a_retrained_model_are_its_own(
    pipelines: Folders, tmp_path: Path
) -> None:
    """As are other words, another VAE, another kind of network; not the version of a library."""
    one = inspect_model(pipelines("sd"))
    same = retrained(pipelines("sd"), tmp_path / "same")
    for name in ("unet/config.json", "text_encoder/config.json"):
        content = json.loads((same / name).read_text())
        content |= {"_diffusers_version": "0.1", "transformers_version": "1", "_name_or_path": "x"}
        (same / name).write_text(json.dumps(content))
    (same / "scheduler" / "more.json").write_text("{}")
    assert differ_in_network_alone(one, inspect_model(same))

    for name, change in {
        "text_encoder/model.safetensors": perturb,
        "vae/diffusion_pytorch_model.safetensors": perturb,
        "tokenizer/tokenizer.json": lambda file: file.write_text(file.read_text() + "\n"),
        "unet/config.json": lambda file: say(file, "act_fn", "gelu"),
        "text_encoder/config.json": lambda file: say(file, "eos_token_id", 2),
    }.items():
        other = tmp_path / name.replace("/", " ")
        shutil.copytree(same, other)
        change(other / name)
        assert not differ_in_network_alone(one, inspect_model(other)), name


def perturb(file: Path) -> None:
    weights = load_file(file)
    first = next(iter(weights))
    save_file(weights | {first: weights[first] + 0.1}, file, metadata={"format": "pt"})


def say(file: Path, key: str, value: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))


def test_a_retrained_model_shares_prompts_and_vae_unless_its_encoders_are_others(
    concept_runs: Folders, pipelines: Folders, tmp_path: Path
) -> None:
    run, config = concept_runs("sd"), read_settings("sfd").evaluate
    other = retrained(pipelines("sd"), tmp_path / "retrained")

    def beside() -> tuple[TextDenoiser, TextDenoiser]:
        found = read_subjects(run, read_record(run), config, other)
        assert found.retrained is not None
        return as_text_denoiser(found.untouched.denoiser), as_text_denoiser(
            found.retrained.denoiser
        )

    untouched, never_knew = beside()
    assert never_knew.prompts is untouched.prompts
    assert isinstance(untouched.codec, VAECodec) and isinstance(never_knew.codec, VAECodec)
    assert never_knew.codec.vae is untouched.codec.vae
    own, given = (next(d.network.parameters()) for d in (never_knew, untouched))
    assert_close(own, 1.01 * given)
    perturb(other / "text_encoder" / "model.safetensors")
    untouched, never_knew = beside()
    assert never_knew.prompts is not untouched.prompts
    rows = [next(iter(d.encode(["a bag"]).tensors.values())) for d in (untouched, never_knew)]
    assert not rows[0].equal(rows[1])


def test_a_class_model_has_no_prompts_to_share(tiny_model: Path) -> None:
    assert not differ_in_network_alone(inspect_model(tiny_model), inspect_model(tiny_model))
