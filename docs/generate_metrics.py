"""Write docs/reference/metrics.md from all Specs: `python docs/generate_metrics.py`."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

import efface.metrics
import efface.requests
from efface.evaluation.wording import SPACE, is_share
from efface.metrics.base import Metric
from efface.records import Side, Spec

PAGE = Path(__file__).parent / "reference" / "metrics.md"
INTRODUCTION = """\
# Metrics

`python docs/generate_metrics.py` writes this page from the `Spec` of every figure, which
`evaluation.json` holds too. How samples, intervals and verdicts are made:
[evaluation](evaluation.md). How to add a metric: [guide](../guides/add-a-metric.md).

- **Role**: primary and secondary figures decide the
  [verdict](../guides/what-a-verdict-means.md), context figures do not. Primary ones are also the
  axes of the plot of several runs.
- **Margin**: by how much a forget figure may exceed that of a retrained model (0 without one), and
  by how much a retain figure may be worse than that of the original model. Points are of a share,
  percent of the original model's figure.
- Where an extractor measured a figure, the label ends in the extractor's name. On Inception's
  features the Fréchet distance is `fid`.
- Figures of the modified prompt of a memorised image end in `_modified`. Every
  [prompt group](evaluation.md#prompt-groups) adds a context figure,
  `concept_rate/KIND/NAME` or `kept_rate/KIND/NAME`.
"""
SECTIONS: dict[Side, str] = {"forget": "Forget figures", "retain": "Retain figures"}
ROLES = ("primary", "secondary", "context")
BETTER = {"more": "↑", "less": "↓", "zero": "→ 0", None: ""}


def collect_specs() -> list[Spec]:
    """Specs of the modules of metrics and requests, each once."""
    values = [value for module in _modules() for value in vars(module).values()]
    found = [value.spec if isinstance(value, Metric) else value for value in values]
    return list(dict.fromkeys(spec for spec in found if isinstance(spec, Spec)))


def _modules() -> list[ModuleType]:
    return [
        importlib.import_module(entry.name)
        for package in (efface.metrics, efface.requests)
        for entry in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]


def page() -> str:
    specs = sorted(collect_specs(), key=lambda spec: ROLES.index(spec.role))
    parts = [INTRODUCTION]
    for side, title in SECTIONS.items():
        parts += [f"## {title}\n", _table([spec for spec in specs if spec.side == side])]
    caveats = dict.fromkeys(spec.caveat for spec in specs if spec.caveat)
    parts += ["## Caveats\n", "".join(f"- {caveat}\n" for caveat in caveats)]
    return "\n".join(parts)


def _table(specs: list[Spec]) -> str:
    rows = [
        ("figure", "name", "what", "unit", "better", "role", "margin"),
        ("---",) * 7,
        *(_row(spec) for spec in specs),
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(spec: Spec) -> tuple[str, ...]:
    better = BETTER[spec.better]
    return spec.label, f"`{spec.name}`", spec.meaning, spec.unit, better, spec.role, _margin(spec)


def _margin(spec: Spec) -> str:
    if spec.margin is None:
        return ""
    percent = 100 * spec.margin.value
    if spec.margin.relative:
        return f"{percent:g}{SPACE}%"
    if not is_share(spec.unit):
        return f"{spec.margin.value:g}"
    return f"{percent:g}{SPACE}{'point' if percent == 1 else 'points'}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
