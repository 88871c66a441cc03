"""What the sections of a product's YAML share, and the one for a search of parameters."""

import math
import re
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictFloat,
    StrictInt,
    Tag,
    WithJsonSchema,
    field_validator,
    model_validator,
)

__all__ = ["UNITS", "Duration", "Range", "Search", "Section"]

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


def _plain(value: object) -> object:
    usable = math.isfinite(value) if isinstance(value, float) else isinstance(value, bool | int | str | None)
    if not usable:
        raise ValueError(f"{value!r} is no value: write numbers, texts, true, false or null")
    return value


PLAIN = {"type": ["boolean", "number", "string", "null"]}
Value = Annotated[Any, BeforeValidator(_plain), WithJsonSchema(PLAIN)]


class Section(BaseModel):
    """Shared behaviour: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Range(Section):
    """Any number from `low` to `high`: a whole one when both ends are written as whole numbers."""

    low: StrictInt | StrictFloat
    high: StrictInt | StrictFloat
    log: bool = Field(False, description="draw the logarithm evenly: for what spans powers of ten")

    @model_validator(mode="after")
    def _is_a_range(self) -> "Range":
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"low {self.low} and high {self.high}: low must be below high")
        if self.log and self.low <= 0:
            raise ValueError(f"low {self.low} has no logarithm: it must be above 0, or leave out log")
        return self


def _kind(space: object) -> str:
    return "range" if isinstance(space, dict | Range) else "values"


# told apart by its shape, so that an error speaks of what was meant
Space = Annotated[
    Annotated[tuple[Value, ...], Tag("values")] | Annotated[Range, Tag("range")],
    Discriminator(_kind),
]


class Search(Section):
    """A search of the estimator's parameters, as a step of each training."""

    parameters: dict[str, Space] = Field(
        min_length=1, description="name: [value, ...] or {low, high, log}; step__name for a pipeline's step"
    )
    candidates: int = Field(27, ge=2, le=1000, description="drawn at random; the champion's and the code's come extra")
    budget: Duration = Field(300.0, gt=0, description="no trial starts later than that; the best so far is taken")

    @field_validator("parameters")
    @classmethod
    def _has_a_choice(cls, value: dict[str, Space]) -> dict[str, Space]:
        for name, space in value.items():
            if not isinstance(space, Range) and len(set(map(repr, space))) < max(2, len(space)):
                raise ValueError(f"{name!r}: {list(space)} is no choice: name at least two values, none twice")
        return value
