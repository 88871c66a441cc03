"""What sections of a product's YAML have in common: frozen, unknown keys refused, durations as people write them."""

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

__all__ = ["Duration", "Section"]

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _seconds(value: object) -> object:
    """`60s`, `5m`, `1.5h` or a plain number of seconds, as a float; anything else is left for pydantic to refuse."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*", value)
        if not match:
            raise ValueError(f"{value!r} is no duration: write for example 30s, 5m or 1h")
        return float(match[1]) * UNITS[match[2]]
    return value


WRITTEN = {  # what editors and `dg check yaml` accept, which is more than the float it becomes
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*(ms|s|m|h|d)\s*$"},
    ],
    "examples": ["30s", "5m"],
}
Duration = Annotated[float, BeforeValidator(_seconds), Field(ge=0), WithJsonSchema(WRITTEN, mode="validation")]


class Section(BaseModel):
    """Shared behaviour: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
