"""What an evidence pack holds of a preparation: what tells copies, and the modified prompt."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save

from efface.requests.memorised.stages import FOLDER, read_stage


def pack_preparation(run: Path) -> dict[str, bytes]:
    """Stages of a finished run by file name, as `read_prepared` reads them.

    Samples of the prompt and of control prompts, and prompts that were tried and not taken, are
    left out. DataError where `preparation/` of the run is not whole.
    """
    detection, detected = read_stage(run, "detection")
    modification, modified = read_stage(run, "modification")
    modification |= {"tried": [None] * len(modification["tried"])}
    kept = {name: t if name == "reference" else t[:0] for name, t in detected.items()}
    stages = {"detection": (detection, kept), "modification": (modification, modified)}
    return {
        f"{FOLDER}/{name}.{suffix}": data
        for name, (content, tensors) in stages.items()
        for suffix, data in (
            ("json", (json.dumps(content, indent=2) + "\n").encode()),
            ("safetensors", save({n: t.contiguous() for n, t in tensors.items()})),
        )
    }
