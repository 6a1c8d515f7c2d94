"""What a run has much of."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from efface.memory.estimate import Amounts, forget_rows
from efface.settings.base import Settings


@pytest.mark.parametrize(("share", "rows"), [(1.0, 4), (0.5, 2), (0.3, 1), (0.0, 0)])
def test_a_batch_has_forget_rows_by_the_share_of_the_method(
    share: float, rows: int, settings_of: Callable[..., Settings]
) -> None:
    settings = settings_of("sfd").changed({"method.forget_share": share})
    assert forget_rows(settings) == rows


def test_images_are_forgotten_in_pairs(settings_of: Callable[..., Settings]) -> None:
    assert forget_rows(settings_of("siss")) == 4


def test_a_request_may_have_nothing_besides_its_rows() -> None:
    amounts = Amounts(forget_rows=3)
    assert (amounts.prompts, amounts.preparation, amounts.models) == (0, 0, 2)
    assert not amounts.guided
