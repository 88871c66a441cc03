"""What users' traffic has shown of two versions side by side, and what it has proven. Frozen records."""

from dataclasses import dataclass, field

__all__ = ["ABSOLUTE", "ALPHA", "RELATIVE", "THRESHOLD", "Proof", "RolloutEvidence"]

ALPHA = 0.01  # of a wrong proof of a loss, over all looks; as much of a wrong proof that there is none
THRESHOLD = 1 / (2 * ALPHA)  # the e-value counts differences of either sign, a verdict one of them
ABSOLUTE = 0.005  # a smaller loss of an error rate or of an AUC is none
RELATIVE = 0.02  # nor is one by a smaller part of the other version's loss
UNITS = {"rmse": "mean squared error", "r2": "mean squared error", "auc": "1 - auc"}


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Mean loss of version `new` minus that of `old` over `rows` rows that both predicted since `since`.

    `low` and `high`: the confidence sequence, between which the truth is at all looks at once, each side wrong with
    probability 1 % at most. A loss is proven when `low` is above `allowed`, and when `high` is below it that there is
    none: just then `e_value` reaches the threshold. Without bounds (None) no difference is excluded yet. `until`:
    when the newest row came.
    """

    new: str
    old: str
    metric: str
    since: float
    until: float
    rows: int
    difference: float
    low: float | None
    high: float | None
    allowed: float
    e_value: float

    @property
    def worse(self) -> bool:
        """The new version is proven to be worse by more than is allowed."""
        return self.e_value >= THRESHOLD and self.difference > self.allowed

    @property
    def not_worse(self) -> bool:
        """The new version is proven not to be worse by more than is allowed."""
        return self.e_value >= THRESHOLD and self.difference < self.allowed

    @property
    def interval(self) -> str:
        """The difference with its confidence sequence."""
        if self.low is None or self.high is None:
            return f"{self.difference:.4g} [no bounds yet]"
        return f"{self.difference:.4g} [{self.low:.4g}, {self.high:.4g}]"

    @property
    def told(self) -> str:
        """What is proven, as the end of a sentence about the new version."""
        unit = UNITS.get(self.metric, self.metric)
        what = "pairs of rows" if self.metric == "auc" else "rows"
        basis = f"by {self.interval}, {self.rows} {what} that both predicted, e-value {self.e_value:.3g}"
        if self.worse:
            return f"its {unit} is worse than that of version {self.old} {basis} of {THRESHOLD:g}"
        allowed = f"{self.allowed:.4g} allowed, {THRESHOLD:g} proves it"
        if self.not_worse:
            return f"its {unit} is not worse than that of version {self.old}: {basis} ({allowed})"
        return f"its {unit} differs from that of version {self.old} {basis} ({allowed})"


@dataclass(frozen=True, kw_only=True)
class RolloutEvidence:
    """What users' traffic showed of a candidate beside its champion between `since` and `until`; dicts are by version.

    `p99_low_ms` is the lower 97.5 % confidence bound of `p99_ms`. `disagreement`: share of the shadow's rows that are
    not what users got. `difference` is the candidate's loss minus the champion's in units of `metric`, above 0 where
    the candidate is worse, with a 95 % interval; over `paired` rows that both predicted, or (0) over each one's own.
    `allowed`: a smaller one is no loss. `proof`: what the rows that both predicted have proven, at whichever look.
    """

    candidate: str
    champion: str
    since: float
    until: float
    requests: dict[str, int]
    errors: dict[str, int]
    p99_ms: dict[str, float | None]
    shadows: int
    shadow_errors: int
    disagreement: float | None
    paired: int
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    metric: str
    p99_low_ms: dict[str, float | None] = field(default_factory=dict)
    labelled: dict[str, int] = field(default_factory=dict)
    allowed: float = 0.0
    proof: Proof | None = None
