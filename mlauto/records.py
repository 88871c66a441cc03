"""The frozen records that pass between the rooms. They hold data; they know no file, no client and no clock.

Times are seconds since the epoch (UTC), digests SHA-256 in hex; a commit's `tree` leaves documentation out.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mlauto.averaged import Averaged, Renewal

__all__ = [
    "Action",
    "Batch",
    "BatchWeight",
    "Cause",
    "CheckOutcome",
    "CheckResult",
    "CiReport",
    "Commit",
    "Deployment",
    "ExpectationFailure",
    "Image",
    "Problem",
    "Score",
    "Signature",
    "SourceFile",
    "Status",
    "TrainedModel",
    "TrainingSet",
    "Validation",
    "Verdict",
    "VerifiedCommit",
]


class Status(StrEnum):
    """A verdict, best to worst as people should worry: measured good, no data, not measurable, measured bad."""

    HEALTHY = "healthy"
    UNKNOWN = "unknown"
    ERROR = "error"
    DEGRADED = "degraded"


class Action(StrEnum):
    """What triage asks for after a verdict."""

    NONE = "none"
    ALERT = "alert"
    WAIT_FOR_DATA = "wait_for_data"
    COOL_DOWN = "cool_down"
    RETRAIN = "retrain"
    ROLL_BACK = "roll_back"
    ESCALATE = "escalate"


class Cause(StrEnum):
    """What triage found behind a verdict; `quality` is a loss of which it is not known whether the inputs moved."""

    NONE = "none"
    QUALITY = "quality"
    COVARIATE_DRIFT = "covariate_drift"
    CONCEPT_DRIFT = "concept_drift"
    STILL_BAD = "still_bad"
    SERVING_FAULT = "serving_fault"
    UPSTREAM_DATA = "upstream_data"
    LABEL_FEED = "label_feed"
    NO_DATA = "no_data"
    UNMEASURABLE = "unmeasurable"


@dataclass(frozen=True, kw_only=True)
class Commit:
    """One git commit of a product's model repository."""

    sha: str
    tree: str
    subject: str
    author: str
    time: float


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """One check: `kind` is lint or tests, `output` is cut in the middle, `url` is its page where it ran elsewhere."""

    kind: str
    command: str
    passed: bool
    seconds: float
    output: str
    exit_code: int | None = None
    tests: int | None = None
    failures: tuple[str, ...] = ()
    url: str | None = None


@dataclass(frozen=True, kw_only=True)
class CiReport:
    """The verdict on one commit, who gave it, and the id of the image in which it was tested ("" in none)."""

    commit: Commit
    results: tuple[CheckResult, ...]
    source: str = "mlauto"
    image: str = ""

    @property
    def passed(self) -> bool:
        """True when every command passed."""
        return all(result.passed for result in self.results)


@dataclass(frozen=True, kw_only=True)
class VerifiedCommit:
    """The newest green commit in branch order."""

    commit: Commit
    branch: str


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file as it landed."""

    name: str
    digest: str
    size: int


@dataclass(frozen=True, kw_only=True)
class ExpectationFailure:
    """One expectation that did not hold."""

    expectation: str
    column: str | None
    observed: str
    expected: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What Great Expectations said of one batch; `problem` says why a file could not even be read."""

    passed: bool
    evaluated: int
    failures: tuple[ExpectationFailure, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One arrival of data files. `digest` names the typed Parquet in the store; None when the batch was not accepted.

    `duplicates` are the names of those files whose content was accepted before: they are not trained on again. `rows`
    are those in `digest`; `unlabelled` more had no label, and wait (`waiting`: file -> Parquet of its states in the
    store). `warnings` are sentences about what is strange, and was accepted all the same.
    """

    key: str
    files: tuple[SourceFile, ...]
    rows: int
    digest: str | None
    validation: Validation
    arrived: float
    duplicates: tuple[str, ...] = ()
    unlabelled: int = 0
    waiting: dict[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        """True when the batch may be trained on."""
        return self.validation.passed and self.digest is not None

    @property
    def outcome(self) -> str:
        """`accepted`, `duplicate` (nothing new), `waiting` (for labels), `withdrawn` (gone unread), `quarantined`."""
        if self.accepted:
            return "accepted"
        if len(self.duplicates) == len(self.files):
            return "duplicate" if self.files else "withdrawn"
        if self.validation.passed and self.unlabelled:
            return "waiting"
        return "quarantined"


@dataclass(frozen=True, kw_only=True)
class BatchWeight:
    """A batch within a training set, newest last; `weight` is the sample weight of each of its rows."""

    key: str
    digest: str
    rows: int
    weight: float


@dataclass(frozen=True, kw_only=True)
class TrainingSet:
    """Manifest of what a model may be fitted on. `digest` covers batches and weights.

    `dropped` counts the accepted batches that are left out because their weight would be next to nothing.
    """

    batches: tuple[BatchWeight, ...]
    digest: str
    dropped: int = 0

    @property
    def rows(self) -> int:
        """Rows over all batches."""
        return sum(batch.rows for batch in self.batches)


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The columns a model takes, in order: name -> kind (`number`, `integer`, `boolean`, `string`), and the task.

    `classes` are the labels of a classifier as JSON values, in `predict_proba` order; empty for regression. `limits`
    (lowest, highest) and `categories` name the columns in which the model's servers take only some values.
    """

    columns: dict[str, str]
    task: str
    classes: tuple[Any, ...] = ()
    limits: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    categories: dict[str, tuple[str | int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Score:
    """A metric's value with a 95 % confidence interval over `rows` rows."""

    metric: str
    value: float
    low: float
    high: float
    rows: int


@dataclass(frozen=True, kw_only=True)
class CheckOutcome:
    """An asset check's outcome, before Dagster sees it."""

    name: str
    passed: bool
    summary: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A fitted estimator, its MLflow run and registered version.

    `key` is the digest of what determined it (tree, training set, parameters, dependencies), `artifact` that of what
    training wrote, `reference` its quality on rows that it was not fitted on, `image` the id of that in which it was.
    `trainings` counts those that new data caused before it; `averaged` is there when it averages several histories,
    `renewal` when it was not fitted itself: `training_set` is then that of its fits.
    """

    version: str
    key: str
    artifact: str
    commit: Commit
    training_set: TrainingSet
    run_id: str
    signature: Signature
    reference: Score
    scores: tuple[Score, ...]
    checks: tuple[CheckOutcome, ...]
    seed: int
    reason: str
    trained: float
    image: str = ""
    trainings: int = 0
    averaged: Averaged | None = None
    renewal: Renewal | None = None

    @property
    def passed(self) -> bool:
        """True when every check of the model passed."""
        return all(check.passed for check in self.checks)

    @property
    def line(self) -> str:
        """The version whose fits it has: its own, unless it was renewed."""
        return self.renewal.line if self.renewal else self.version

    @property
    def attempted(self) -> frozenset[str]:
        """The batches, by digest, that the newest training was made on when this model was."""
        own = tuple(batch.digest for batch in self.training_set.batches)
        return frozenset(self.renewal.attempted if self.renewal else own)


@dataclass(frozen=True, kw_only=True)
class Image:
    """What a runtime can start: a bundle directory (`kind` bundle) or a container image, addressed by digest."""

    kind: str
    digest: str
    reference: str
    version: str
    key: str
    checks: tuple[CheckOutcome, ...] = ()
    sbom: str = ""  # digest of its bill of materials (CycloneDX) in the store, where it has one


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """An image that runs in an environment (`test`, `production`), its newest `events`, how many `rollbacks` so far."""

    environment: str
    version: str
    image: str
    since: float
    checks: tuple[CheckOutcome, ...] = ()
    fallback: str | None = None
    events: tuple[str, ...] = ()
    rollbacks: int = 0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What `judge` concluded: an overall status, one outcome per check, the action asked for, and why.

    `cause` is the sentence that people read, `kind` what triage took it for, `due` when the next retraining may begin.
    `doubtful`: quality is beyond the limit that is tested, without proof so far: no fault, nor the end of one.
    """

    status: Status
    action: Action
    cause: str
    checks: tuple[CheckOutcome, ...]
    kind: Cause = Cause.NONE
    due: float | None = None
    doubtful: bool = False


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What went wrong at one place of a product's life, newest words, and since when; gone once it goes well."""

    where: str
    since: float
    text: str
