"""What a method declares that its networks pass, against what they do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from efface.diffusion.denoiser import Denoiser
from efface.methods import names, resolve
from efface.methods.base import Method, StepContext

VARIANTS: list[tuple[str, dict[str, Any]]] = [(n, {}) for n in names() if resolve(n).phases]
VARIANTS += [("sfd", {"share_student_pass": True}), ("sfd", {"stop_score_gradient": True})]
VARIANTS += [("siss", {"retain_target": "teacher", "rule_name": "fixed_norm"})]
VARIANTS += [("siss_no_is", {"retain_target": "subtracted"})]


def passed(method: Method, ctx: StepContext) -> dict[tuple[str, str], list[int]]:
    """Rows of every pass that a gradient goes through, by phase and network."""
    found: dict[tuple[str, str], list[int]] = {}
    for phase in method.phases:
        handles = []
        for name, one in ctx.networks.items():
            one.network.requires_grad_(name in method.active(phase))

            def count(_module: Any, _args: Any, output: Any, name: str = name) -> None:
                if output[0].requires_grad:
                    found.setdefault((phase, name), []).append(len(output[0]))  # noqa: B023

            handles.append(one.network.register_forward_hook(count))
        method.loss(phase, ctx)
        for handle in handles:
            handle.remove()
    return found


@pytest.mark.parametrize(("name", "changes"), VARIANTS)
def test_a_method_declares_how_many_rows_its_networks_pass(
    name: str,
    changes: dict[str, Any],
    suited: Callable[..., Denoiser],
    make_context: Callable[..., StepContext],
) -> None:
    """In all as many, at once no more; those that posterior subtraction leaves out are counted."""
    torch.manual_seed(0)
    kind: Any = resolve(name)
    method: Method = kind(**changes)
    denoiser = suited(method)
    rows = 4, round(method.forget_share * 4)
    found = passed(method, make_context(method, denoiser))
    assert found
    if changes.get("share_student_pass"):  # kept from one phase to the next
        found["student", "student"] = found["fake_score", "student"]
    for phase in method.phases:
        for network in method.networks(denoiser):
            declared = method.passes(phase, network, *rows)
            counted = found.get((phase, network), [])
            assert sum(counted) == sum(declared) or (name == "posterior_subtraction" and counted)
            assert sum(counted) <= sum(declared)
            assert max(counted, default=0) <= max(declared, default=0)
