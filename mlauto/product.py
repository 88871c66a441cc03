"""A model product: the one YAML file that a team writes, as frozen pydantic models. Unknown keys are errors.

The models know nothing of Dagster: `orchestration.component` reads them from `defs.yaml`, and
`ModelProduct.model_json_schema` gives editors completion.
"""

import math
import re
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StrictInt, StrictStr, WithJsonSchema, field_validator, model_validator

from mlauto.product_training import Training
from mlauto.sections import Duration, Section

__all__ = ["Code", "Data", "Delivery", "ModelProduct", "Monitoring", "ServiceLevel"]

Limit = tuple[float | None, float | None]
Category = StrictStr | StrictInt
Task = Literal["regression", "classification"]
Metric = Literal["mae", "rmse", "r2", "error_rate", "log_loss", "auc"]


def _commands(value: object) -> object:
    """`external` is no command at all: another CI tests the commits and reports its verdicts."""
    if isinstance(value, str) and value != "external":
        raise ValueError(f"{value!r} is no list: write [{value!r}], or external where another CI reports the verdicts")
    return () if value == "external" else value


COMMANDS = {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"const": "external"}]}
Commands = Annotated[tuple[str, ...], BeforeValidator(_commands), WithJsonSchema(COMMANDS, mode="validation")]


class Code(Section):
    """Where the model's source code comes from, and how it is checked."""

    repository: str = Field(description="git URL, or a path relative to MLAUTO_ROOT")
    branch: str = Field("main", description="the branch whose commits are tested and trained from")
    estimator: str = Field(description="package.module:function that returns an unfitted scikit-learn estimator")
    checks: Commands = Field(("ruff check .", "pytest -q"), description="commands that must exit 0; or: external")
    timeout: Duration = Field(600.0, description="time limit for each check")

    @field_validator("estimator")
    @classmethod
    def _names_a_function(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", value):
            raise ValueError(f"{value!r} must look like package.module:function")
        return value

    @property
    def external(self) -> bool:
        """Whether nothing is tested here: a commit waits for its verdict from outside."""
        return not self.checks


class Data(Section):
    """Where data arrives, and what its columns mean."""

    landing: str = Field(description="folder in which data files land (CSV or Parquet), relative to MLAUTO_ROOT")
    target: str = Field(description="the column to predict")
    task: Task
    timestamp: str | None = Field(None, description="column with the time of each row; never a feature by itself")
    exclude: tuple[str, ...] = Field((), description="columns that are never features (leaks, ids)")
    key: tuple[str, ...] = Field(
        (), description="columns that say which prediction a label belongs to, where labels come without prediction ids"
    )
    expectations: str = Field(
        "expectations.json", description="Great Expectations suite, relative to the product's folder"
    )
    limits: dict[str, Limit] = Field(
        {}, description="column: [lowest, highest] of the values that the live model takes; either may be null"
    )
    categories: dict[str, tuple[Category, ...]] = Field(
        {}, description="column: [value, ...], all that the live model takes: texts, or whole numbers"
    )

    @model_validator(mode="after")
    def _limits_are_usable(self) -> "Data":
        for name, (low, high) in self.limits.items():
            ends = [end for end in (low, high) if end is not None]
            if not ends or not all(map(math.isfinite, ends)) or ends != sorted(ends):
                raise ValueError(f"limits of {name!r}: {[low, high]} is not [lowest, highest]; one may be null")
        for name, values in self.categories.items():
            if not values or len(set(values)) < len(values) or len(set(map(type, values))) > 1:
                raise ValueError(f"categories of {name!r}: name at least one, all of one kind, none twice")
        never = {self.target, self.timestamp, *self.exclude}
        for name in (*self.limits, *self.categories):
            if name in never:
                raise ValueError(f"limits or categories of {name!r}: it is target, timestamp or in exclude")
            if name in self.limits and name in self.categories:
                raise ValueError(f"{name!r} has limits and categories: choose one")
        return self

    @model_validator(mode="after")
    def _target_is_usable(self) -> "Data":
        if self.target in self.exclude or self.target == self.timestamp:
            raise ValueError(f"target {self.target!r} is also listed in exclude or timestamp")
        if self.target in self.key or len(set(self.key)) < len(self.key):
            raise ValueError(f"key {list(self.key)} must name other columns than the target, none twice")
        return self


Share = Annotated[float, Field(gt=0, le=100)]


class Delivery(Section):
    """How a verified model reaches production."""

    mode: Literal["auto", "approve", "suggest"] = "auto"
    shadow: Duration = Field(
        30.0, description="how long a candidate gets copies of requests first; 0s: no copies at all"
    )
    canary: tuple[Share, ...] = Field((5.0, 25.0), description="percent of the requests that it answers, step by step")
    step: Duration = Field(30.0, description="least time of each canary step")
    hurry: bool = Field(True, description="straight to all users when the live version is known to be bad")
    bake: Duration = Field(60.0, description="how long the previous version stays warm as fallback")
    watch: Duration = Field(
        3600.0, description="longest time that it then gets copies, to be returned to if better (one more warm process)"
    )
    latency_ms: float = Field(250.0, gt=0, description="limit for one row in the test deployment (p99)")
    replay: int = Field(
        200, ge=0, le=10_000, description="newest requests of users that a candidate must answer first; 0: none"
    )
    keep: int = Field(
        5, ge=2, le=50, description="newest good versions that can be started again at once; older ones are removed"
    )

    @field_validator("canary")
    @classmethod
    def _grows(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(later <= earlier for earlier, later in pairwise(value)):
            raise ValueError(f"{list(value)} must grow from step to step")
        return value[:-1] if value and value[-1] == 100 else value  # all users are what comes after the last step


class ServiceLevel(Section):
    """What users of the live model may rely on."""

    p99_ms: float = Field(250.0, gt=0)
    error_rate: float = Field(0.001, ge=0, le=1)


class Monitoring(Section):
    """How the live deployment is measured and judged."""

    every: Duration = Field(60.0, description="time between two evaluations")
    metric: Metric | None = Field(None, description="default: mae for regression, error_rate for classification")
    tolerance: float | None = Field(
        None, gt=0, description="loss tolerated: relative (0.10) or, for rates, absolute (0.02)"
    )
    window: int = Field(500, ge=20, description="newest labelled predictions of the live version that are judged")
    min_labels: int = Field(50, ge=10, description="fewer labelled predictions give no verdict on quality")
    keep_gb: float = Field(
        1.0, gt=0, le=100_000, description="GiB of the prediction log that are kept of each kind of line"
    )
    retention: Duration | None = Field(
        None,
        gt=0,
        description="predictions and labels older than that are dropped, as for example 90d; null: by size only",
    )
    segments: Annotated[tuple[str, ...], Field(max_length=3)] | Literal["tree"] = Field(
        (),
        description="features by whose values quality is shown as well (at most 3, 12 values of each); or tree: the"
        " segments are found, where the model's losses differ most",
    )
    stale_after: Duration = Field(3600.0, description="no prediction for that long: verdict unknown")
    cooldown: Duration = Field(60.0, description="pause after a retraining that did not help; doubles each time")
    max_attempts: int = Field(3, ge=1, description="retrainings of one incident before people are asked")
    healthy_windows: int = Field(
        3, ge=1, description="healthy verdicts in a row, on new evidence, that end an incident"
    )
    slo: ServiceLevel = Field(default_factory=ServiceLevel)


class ModelProduct(Section):
    """One scikit-learn model and everything its life-cycle needs to know."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]{0,40}$", description="key prefix of the assets, and the registered model's name"
    )
    owners: tuple[str, ...] = ()
    description: str = ""
    code: Code
    data: Data
    training: Training = Field(default_factory=Training)
    delivery: Delivery = Field(default_factory=Delivery)
    monitoring: Monitoring = Field(default_factory=Monitoring)

    @model_validator(mode="after")
    def _metric_fits_task(self) -> "ModelProduct":
        regression = {"mae", "rmse", "r2"}
        metric = self.monitoring.metric
        if metric is not None and (metric in regression) != (self.data.task == "regression"):
            raise ValueError(f"monitoring.metric {metric!r} is not a metric for {self.data.task}")
        return self

    @model_validator(mode="after")
    def _segments_are_features(self) -> "ModelProduct":
        never = {self.data.target, self.data.timestamp, *self.data.exclude}
        segments = self.monitoring.segments
        for name in segments if segments != "tree" else ():
            if name in never or segments.count(name) > 1:
                raise ValueError(f"monitoring.segments: {name!r} is target, timestamp, in exclude, or named twice")
        return self

    @property
    def metric(self) -> str:
        """The metric that decides, with the task's default filled in."""
        return self.monitoring.metric or ("mae" if self.data.task == "regression" else "error_rate")

    @property
    def tolerance(self) -> float:
        """Loss tolerated: 0.02 absolute for error_rate and auc, else 0.10 relative, unless the YAML says."""
        return self.monitoring.tolerance or (0.02 if self.metric in {"error_rate", "auc"} else 0.10)
