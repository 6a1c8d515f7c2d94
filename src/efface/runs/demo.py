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
    """Forget a digit in two ways, then a memorised image, and attack all; returns the report.

    The first way gives a one-step generator, the second keeps the model's sampler.
    """
    out = Path(out)
    digits = {"class": "digits-sfd-short", "class-same-sampler": "digits-same-sampler"}
    runs = [out / name for name in (*digits, "images")]
    for run in runs:
        if run.exists() and not overwrite:
            raise RequestError(
                f"{run} exists: add --overwrite to replace it, or give another --out."
            )
    digit = ForgetClass(labels=(FORGOTTEN,), replacement=(REPLACEMENT,))
    for name, recipe in digits.items():
        forget("zoo:digits", digit, out / name, recipe=recipe, overwrite=overwrite)
        attack(out / name, ["relearning"], reference="digits", changes=QUICK)
    forget(
        "zoo:digits-symbol",
        ForgetImages(images="zoo:symbol", retain="digits", unseen="digits"),
        out / "images",
        recipe="digits-siss",
        retrained=RETRAINED,
        overwrite=overwrite,
    )
    attack(out / "images", ["relearning"], retrained=RETRAINED, changes=QUICK)
    for run in runs:
        write_report([run], run / "report.html")
    return write_report(runs, out / "report.html")
