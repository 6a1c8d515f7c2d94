"""All settings that a run can have: those of `efface settings`."""

from __future__ import annotations

from efface.errors import ConfigError
from efface.requests import sections
from efface.runs.early import METHOD, SECTIONS
from efface.settings.listing import Setting, list_section


def list_settings(section: str | None = None, method: str = "sfd") -> list[Setting]:
    """The settings of recipes and of `--set`, of one section or of all, in their order.

    Those of the section `method` are the hyperparameters of the `method` that is named. ConfigError
    for a section or a method that there is not.
    """
    known = {METHOD: None} | SECTIONS | sections()
    if section is not None and section not in known:
        raise ConfigError(f"section {section!r} is unknown: there is {', '.join(known)}.")
    chosen = list(known) if section is None else [section]
    if METHOD in chosen:
        from efface.methods import resolve

        known[METHOD] = resolve(method)
    return [setting for name in chosen for setting in list_section(name, known[name])]
