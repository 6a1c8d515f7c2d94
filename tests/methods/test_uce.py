"""UCE from the request to a pipeline that stock diffusers loads, on tiny real models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import diffusers
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.testing import assert_close

import efface
from efface.data.batch import WordBank
from efface.diffusion.cross_attention import text_layers
from efface.diffusion.text.denoiser import TextDenoiser
from efface.errors import ConfigError
from efface.methods.closed_form import redirecting_map
from efface.methods.uce import UCE
from efface.records import read_evaluation, read_record
from efface.requests.concept.material import PromptMaterial
from efface.runs.plan import make_plan
from efface.runs.recorded import read_run
from tests.tiny import BAG

Pipelines = Callable[[str], Path]
FEW = (
    'concept.templates=["a {}"]',
    'concept.subjects=["cat", "dog"]',
    "evaluate.forget_samples=10",
    "evaluate.retain_samples=10",
    "evaluate.baseline_steps=2",
    "evaluate.guidance=1.0",
    "train.ignore_memory=true",
)
PURSE = efface.ForgetConcept(concept="bag", also=("purse",), replacement="coat")
CUP = efface.ForgetConcept(concept="cup", replacement="pen")


def keys_and_values(folder: Path) -> list[Tensor]:
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, use_safetensors=True)
    return [layer.weight.detach() for layer in text_layers(pipeline.unet)]


def words_of(run: Path, model: TextDenoiser) -> WordBank:
    """Those of a recorded run."""
    material = read_run(run, (), "words").material
    assert isinstance(material, PromptMaterial)
    return material.word_bank(model)


def in_double(words: WordBank) -> WordBank:
    return WordBank(
        forget=words.forget.double(), target=words.target.double(), retain=words.retain.double()
    )


def test_the_words_are_redirected_as_the_setting_says() -> None:
    c, g, r = torch.randn(3, 4, 12, generator=torch.Generator().manual_seed(0)).double()
    words = WordBank(forget=c, target=g, retain=r)
    method = UCE(change_weight=0.3, forget_weight=2.0, retain_weight=0.7)
    assert_close(method.map(words, []), redirecting_map(c, g, r, (0.3, 2.0, 0.7)))


@pytest.mark.parametrize("kind", ["sd", "sdxl", "sd_bert"])
def test_a_request_becomes_a_stock_pipeline_that_is_measured(
    pipelines: Pipelines, text_model: Callable[..., TextDenoiser], tmp_path: Path, kind: str
) -> None:
    out = efface.forget(pipelines(kind), BAG, tmp_path / "run", method="uce", changes=FEW)
    record, evaluation = read_record(out), read_evaluation(out)
    assert (record.status, record.method, record.steps) == ("finished", "UCE", 1)
    assert record.sampler["text"].startswith("50 DDIM steps")
    assert (record.forwards, record.images_per_second) == (0, 0.0)
    changed = {k for k, v in record.output.items() if v != record.model["weights"][k]}
    assert {name.split("/")[0] for name in changed} == {"unet"}
    assert evaluation.change["weights"] > 0 and (out / "report.html").exists()
    words = in_double(words_of(out, text_model(kind)))
    mapping = UCE().map(words, [])
    before, after = keys_and_values(pipelines(kind)), keys_and_values(out / "pipeline")
    for own, edited in zip(before, after, strict=True):
        assert_close(edited, (own.double() @ mapping).float())
        assert not own.equal(edited)


def test_a_run_is_the_same_twice_and_when_it_is_resumed(
    pipelines: Pipelines, tmp_path: Path
) -> None:
    def stop(step: int) -> None:
        raise KeyboardInterrupt

    def forget(name: str, **more: object) -> Path:
        options = {"method": "uce", "changes": FEW, "measure": False} | more
        return efface.forget(pipelines("sd"), BAG, tmp_path / name, **options)  # pyright: ignore

    with pytest.raises(KeyboardInterrupt):
        forget("stopped", on_step=stop)
    runs = [forget("one"), forget("two"), forget("stopped", resume=True)]
    one, *others = [read_record(run).output for run in runs]
    assert all(other == one for other in others)


def test_every_name_of_every_request_is_redirected(
    pipelines: Pipelines, text_model: Callable[..., TextDenoiser], tmp_path: Path
) -> None:
    """From the original model, whose weights a second request edits anew for all of them."""
    options = {"method": "uce", "changes": FEW, "measure": False}
    first = efface.forget(pipelines("sd"), PURSE, tmp_path / "first", **options)  # pyright: ignore
    second = efface.forget(first / "pipeline", CUP, tmp_path / "second", **options)  # pyright: ignore
    material = read_run(second, (), "words").material
    assert isinstance(material, PromptMaterial)
    assert material.words == (("bag", "coat"), ("purse", "coat"), ("cup", "pen"))
    mapping = UCE().map(in_double(words_of(second, text_model("sd"))), [])
    before, after = keys_and_values(pipelines("sd")), keys_and_values(second / "pipeline")
    for own, edited in zip(before, after, strict=True):
        assert_close(edited, (own.double() @ mapping).float())


def test_words_are_their_last_token_and_only_editors_encode_them(
    pipelines: Pipelines, text_model: Callable[..., TextDenoiser], tmp_path: Path
) -> None:
    plan = make_plan(pipelines("sd"), PURSE, method="uce", changes=FEW, measure=False)
    feed = plan.material.feed(
        text_model("sd", fresh=True), plan.settings, tmp_path, Accelerator(cpu=True)
    )
    words = feed.source.words
    assert words is not None
    states = text_model("sd").encode(["bag", "purse", "coat"]).tensors["encoder_hidden_states"]
    assert_close(words.forget, torch.stack([states[0, 3], states[1, 5]]))  # a mark, then letters
    assert_close(words.target, states[[2, 2], 4])
    assert words.retain.shape == (3, 16)  # "a cat", "a dog" and "a coat"
    trained = make_plan(pipelines("sd"), PURSE, method="redirection", changes=FEW, measure=False)
    assert isinstance(trained.material, PromptMaterial) and not trained.material.words
    assert "bag" not in trained.material.encoded


@pytest.mark.parametrize("name", ["uce", "rece"])
@pytest.mark.parametrize("kind", ["sd3", "flux", "pixart_alpha"])
def test_other_networks_are_refused_before_weights_are_fetched(
    sized_pipelines: Pipelines, kind: str, name: str
) -> None:
    model = sized_pipelines(kind)
    with pytest.raises(ConfigError, match=f"'{name}' works on UNet2DConditionModel.*Transformer"):
        make_plan(model, BAG, method=name, changes=FEW)


def test_requests_without_words_are_refused(
    tiny_model: Path, pipelines: Pipelines, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="'uce' does not work for a request of the kind 'class'"):
        make_plan(tiny_model, efface.ForgetClass(labels=(0,)), method="uce")
    (tmp_path / "pairs.tsv").write_text("prompt\ttarget\na bag\ta coat\n")
    pairs = efface.ForgetConcept(concept="bag", prompt_pairs=str(tmp_path / "pairs.tsv"))
    with pytest.raises(ConfigError, match="'uce' edits the words of a concept: give a replace"):
        make_plan(pipelines("sd"), pairs, method="uce", changes=FEW)
    with pytest.raises(ConfigError, match="'uce' does not work for a request of the kind 'distil'"):
        make_plan(pipelines("sd"), efface.Distil(), method="uce")


@pytest.mark.parametrize("change", ["lora_rank=4", "steps=500", "learning_rate=1e-3"])
def test_settings_of_the_loop_are_refused_in_one_sentence(
    pipelines: Pipelines, change: str
) -> None:
    key, _, _ = change.partition("=")
    with pytest.raises(ConfigError, match=rf"train\.{key} is .* 'rece' trains nothing") as refused:
        make_plan(pipelines("sd"), BAG, method="rece", changes=[f"train.{change}"])
    assert "\n" not in str(refused.value)
    make_plan(pipelines("sd"), BAG, method="rece", changes=[*FEW, "train.seed=3"])
