"""The report: one self-contained HTML page out of JSON and PNG (no torch)."""

from efface.reporting.page import require_replaceable, write_report
from efface.reporting.verdict import Verdict, judge_run

__all__ = ["Verdict", "judge_run", "require_replaceable", "write_report"]
