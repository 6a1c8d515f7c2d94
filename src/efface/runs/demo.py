"""The demonstration: offline, minutes on two cores, a report at the end."""

from pathlib import Path

from efface.errors import RequestError
from efface.reporting import write_report
from efface.requests.classes.request import ForgetClass
from efface.requests.images.request import ForgetImages
from efface.runs.attack import attack
from efface.runs.forget import forget

FORGOTTEN, REPLACEMENT = 0, 1
RETRAINED = "zoo:digits-retrained"
QUICK = (  # so that whether it comes back is measured within half a minute for each run
    "relearning.images=[16]", "relearning.steps=[5, 20]", "relearning.samples=40",
    "relearning.sampling_steps=10", "relearning.learning_rates=[5e-4, 1.5e-3]",
)  # fmt: skip


def demo(out: str | Path = "efface-demo", overwrite: bool = False) -> Path:
    """Forget a digit, then a memorised image, and attack both runs; returns the report."""
    out = Path(out)
    runs = [out / "class", out / "images"]
    for run in runs:
        if run.exists() and not overwrite:
            raise RequestError(
                f"{run} exists: add --overwrite to replace it, or give another --out."
            )
    digit = ForgetClass(labels=(FORGOTTEN,), replacement=(REPLACEMENT,))
    forget("zoo:digits", digit, runs[0], recipe="digits-sfd", overwrite=overwrite)
    forget(
        "zoo:digits-symbol",
        ForgetImages(images="zoo:symbol", retain="digits", unseen="digits"),
        runs[1],
        recipe="digits-siss",
        retrained=RETRAINED,
        overwrite=overwrite,
    )
    attack(runs[0], ["relearning"], reference="digits", changes=QUICK)
    attack(runs[1], ["relearning"], retrained=RETRAINED, changes=QUICK)
    for run in runs:
        write_report([run], run / "report.html")
    return write_report(runs, out / "report.html")
