"""A line of JSON per logged step."""

import json
from collections.abc import Mapping
from pathlib import Path

from efface.files import whole_file


class Tracking:
    """Writes `metrics.jsonl`."""

    def __init__(self, folder: Path, first_step: int = 0) -> None:
        self._file = folder / "metrics.jsonl"
        self._drop_lines_from(first_step)
        self._stream = self._file.open("a", encoding="utf-8")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._stream.write(json.dumps({"step": step, **values}) + "\n")
        self._stream.flush()

    def close(self) -> None:
        self._stream.close()

    def _drop_lines_from(self, step: int) -> None:
        """A resumed run repeats the steps after its checkpoint: their old lines go."""
        if not self._file.exists():
            return
        kept = []
        for line in self._file.read_bytes().splitlines():
            try:
                if 0 < json.loads(line)["step"] <= step:
                    kept.append(line)
            except (ValueError, TypeError, KeyError, RecursionError):
                pass  # cut off when the process was killed, or none of ours
        with whole_file(self._file) as part:
            part.write_bytes(b"".join(line + b"\n" for line in kept))
