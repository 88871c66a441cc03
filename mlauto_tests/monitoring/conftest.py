"""A prediction log that a test writes line by line, with times of its own choosing."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

NOW = 1_700_000_000.0


@dataclass
class LogWriter:
    """Writes the segments as the gateway does: whole lines, one open segment per kind."""

    folder: Path
    segment: int = 0
    label_segment: int = 0
    sequence: int = 0
    now: float = NOW

    def new_id(self) -> str:
        self.sequence += 1
        return f"{self.segment:08x}-{self.sequence:08x}-{self.sequence % 65536:04x}"

    def line(self, kind: str, segment: int, **values: Any) -> None:
        self.raw(kind, segment, json.dumps(values).encode() + b"\n")

    def raw(self, kind: str, segment: int, content: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{kind}-{segment:08x}.jsonl").open("ab") as stream:
            stream.write(content)

    def predict(self, *y: Any, v: str = "1", t: float | None = None, ms: float = 5.0, **more: Any) -> str:
        prediction_id = self.new_id()
        rows = more.pop("rows", [{"x": value} for value in y])
        moment = self.now if t is None else t
        self.line("predictions", self.segment, id=prediction_id, t=moment, v=v, ms=ms, rows=rows, y=list(y), **more)
        return prediction_id

    def fail(self, *, v: str | None = "1", code: int = 503, t: float | None = None) -> str:
        prediction_id = self.new_id()
        moment = self.now if t is None else t
        self.line("predictions", self.segment, id=prediction_id, t=moment, v=v, ms=1.0, error="gone", code=code)
        return prediction_id

    def label(self, prediction_id: str, *y: Any, t: float | None = None) -> None:
        self.line("labels", self.label_segment, id=prediction_id, t=self.now if t is None else t, y=list(y))


@pytest.fixture
def log(tmp_path: Path) -> LogWriter:
    """An empty prediction log in a folder that does not exist yet."""
    return LogWriter(tmp_path / "predictions")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Where the label join keeps its state."""
    return tmp_path / "monitoring.json"
