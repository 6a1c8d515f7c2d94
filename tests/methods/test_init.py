"""Names of methods, and what they stand for."""

from __future__ import annotations

import pytest

from efface.errors import ConfigError
from efface.methods import names, resolve
from efface.methods.base import Method
from efface.methods.siss import SISS
from efface.training.denoising import Denoising


def test_every_file_with_a_method_is_named_and_no_helper_is() -> None:
    assert names() == (
        "concept_ablation",
        "erasediff",
        "erasediff_siss",
        "esd",
        "naive_deletion",
        "neggrad",
        "neggrad_plus",
        "posterior_subtraction",
        "rece",
        "redirection",
        "relabel",
        "retrack",
        "salun",
        "selective_amnesia",
        "sfd",
        "sfr_on",
        "siss",
        "siss_bernoulli",
        "siss_no_is",
        "uce",
    )
    assert all(issubclass(resolve(name), Method) for name in names())


def test_unknown_method_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="'sdf'.*selective_amnesia, sfd"):
        resolve("sdf")


@pytest.mark.parametrize(
    "name",
    ["denoising", "base", "closed_form", "image_method", "labelled", "on_samples", "saliency"],
)
def test_names_of_helpers_are_no_methods(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}'"):
        resolve(name)


def test_a_dotted_name_is_any_module_with_one_method() -> None:
    assert resolve("efface.training.denoising") is Denoising
    assert resolve("efface.methods.siss") is SISS
    with pytest.raises(ConfigError, match="0 methods"):
        resolve("efface.methods.mixture")
    with pytest.raises(ConfigError, match="'no_such.module' cannot be imported"):
        resolve("no_such.module")
