"""What a product's detectors remember between two looks: one small record, which is replaced as a whole."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from mlauto.errors import MeasurementError
from mlauto.monitoring.quality.budget import Budget
from mlauto.monitoring.quality.detector import Detector
from mlauto.monitoring.quality.segments import Segment
from mlauto.monitoring.watch.record import Unpaired
from mlauto.store import atomic_write

__all__ = ["Memory", "Watched", "kept", "number", "packed", "read_memory", "write_memory"]

VERSIONS = 4  # as many as have a window of labels


@dataclass(frozen=True, kw_only=True)
class Watched:
    """One version's: `beyond` tests a loss beyond the tolerance, `worse` any loss against the reference.

    `counted`: the requests of the newest window that were counted, as 64-bit numbers; what has left it never returns.
    """

    metric: str
    beyond: Detector
    worse: Detector
    segments: dict[str, Segment] = field(default_factory=dict)
    unpaired: Unpaired = field(default_factory=Unpaired)
    counted: bytes = b""

    @property
    def numbers(self) -> frozenset[int]:
        """The requests that were counted."""
        return frozenset(np.frombuffer(self.counted, dtype="<u8").tolist())


@dataclass(frozen=True, kw_only=True)
class Memory:
    """The budget of all versions, and the newest versions, that which was live last at the end."""

    budget: Budget
    versions: dict[str, Watched] = field(default_factory=dict)


def kept(memory: Memory, budget: Budget, version: str, watched: Watched) -> Memory:
    """The memory with a version's newest state; the versions that were live longest ago are forgotten."""
    others = [(name, one) for name, one in memory.versions.items() if name != version]
    return Memory(budget=budget, versions=dict([*others[-(VERSIONS - 1) :], (version, watched)]))


def read_memory(path: Path, now: float) -> Memory:
    """What is remembered; nothing where there was nothing, or where another version of mlauto wrote it.

    Raises `MeasurementError` when the file is there and cannot be read.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Memory)
    except (FileNotFoundError, msgspec.MsgspecError):
        return Memory(budget=Budget(at=now))
    except OSError as error:
        raise MeasurementError(f"{path} cannot be read: {error}") from error


def write_memory(path: Path, memory: Memory) -> None:
    """Replace the record. Raises `MeasurementError` when it cannot be written."""
    try:
        atomic_write(path, msgspec.json.encode(memory))
    except OSError as error:
        raise MeasurementError(f"{path} cannot be written: {error}") from error


def number(prediction_id: str) -> int:
    """A request's id without its random end: which segment, which request."""
    segment, sequence, _ = prediction_id.split("-")
    return int(segment, 16) << 32 | int(sequence, 16)


def packed(numbers: Iterable[int]) -> bytes:
    """Numbers as `Watched.counted` holds them."""
    return np.array(list(numbers), dtype="<u8").tobytes()
