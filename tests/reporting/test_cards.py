"""The card of what comes back."""

from __future__ import annotations

from efface.reporting import judge_run
from tests.reporting.conftest import make_evaluation, make_record
from tests.reporting.full_runs import make_attack, make_attacks


def test_no_attack_is_not_called_resistance():
    verdict = judge_run(make_record(), make_evaluation())
    card = verdict.cards[2]
    assert (card.title, card.value, card.kind, card.words) == (
        "Resists", "–", "warn", "not measured",
    )  # fmt: skip
    assert verdict.told["Resist"] == "Whether it comes back was not measured."


def test_the_card_names_the_attack_that_did_best_and_what_it_took():
    attacks = make_attacks(make_attack("relearn", 3, 45), make_attack("latent_search", None, None))
    verdict = judge_run(make_record(), make_evaluation(), attacks=attacks)
    card = verdict.cards[2]
    assert (card.value, card.interval, card.kind) == ("1 of 2", "Relearning", "bad")
    assert card.before == "half of it back: 3 training steps with 16 images"
    assert card.note == "retrained model: 45 training steps with 16 images"
    assert verdict.answers["resist"] == "no"
