"""What users' traffic showed of a candidate beside its champion: requests, errors, latency, quality where labels are.

It is computed from the prediction log alone, in one pass over its newest part, so that it can be computed again at any
time by anybody; memory and time are bounded whatever the traffic.
"""

import math
from array import array
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlauto.monitoring.comparison import Outcome, outcome_score, paired_difference, unpaired_difference
from mlauto.monitoring.log.reading import Label, LogReader, Prediction
from mlauto.monitoring.metrics import least_p99, quantile
from mlauto.monitoring.scores import REGRESSION, SHARES, same_label, usable
from mlauto.monitoring.watch.pairing import outcomes
from mlauto.proof import ABSOLUTE, RELATIVE, RolloutEvidence
from mlauto.records import Score

__all__ = ["gather_evidence"]

PREDICTION_BYTES = 32 << 20  # about 100,000 requests of one row
SHADOW_BYTES = 8 << 20
LABEL_BYTES = 8 << 20
MOST_ROWS = 20_000  # of each comparison, the newest
ORIGINS = ("labels", "imported")
# Two models of a number never agree to the last digit: they differ by more than this share of the answers' deviation.
NOTICEABLE = 0.1


def gather_evidence(
    folder: Path,
    *,
    candidate: str,
    champion: str,
    since: float,
    now: float,
    metric: str,
    classes: Sequence[object] = (),
) -> RolloutEvidence:
    """The evidence on `candidate` since that time; `folder` holds the product's prediction log.

    A request that was retried elsewhere counts as an error of the version that failed it. Of heavy traffic only the
    newest part is read, and `since` of the evidence says from when on. The difference is the paired or the unpaired
    one, whichever has the narrower interval. Raises `MeasurementError` when the log cannot be read.
    """
    gathered = _Gathered(metric, candidate, champion)
    gathered.read_labels(folder, since)
    gathered.read_shadows(folder, since)
    gathered.read_predictions(folder, since)
    versions = (candidate, champion)
    times = {version: sorted(gathered.times[version]) for version in versions}
    errors = {version: gathered.errors(version) for version in versions}
    difference, paired = gathered.difference(classes)
    return RolloutEvidence(
        candidate=candidate,
        champion=champion,
        since=min(now, gathered.oldest) if gathered.cut else since,
        until=now,
        requests={version: gathered.answered[version] + errors[version] for version in versions},
        errors=errors,
        p99_ms={version: quantile(times[version], 0.99) for version in versions},
        p99_low_ms={version: least_p99(times[version]) for version in versions},
        shadows=gathered.shadows,
        shadow_errors=gathered.shadow_errors,
        disagreement=gathered.disagreement(),
        paired=paired,
        labelled={version: len(gathered.own[version]) for version in versions},
        allowed=gathered.allowed(classes),
        difference=difference.value if difference else None,
        difference_low=difference.low if difference else None,
        difference_high=difference.high if difference else None,
        metric=metric,
    )


class _Gathered:
    """What one pass over labels, shadows and predictions, in this order, leaves."""

    def __init__(self, metric: str, candidate: str, champion: str) -> None:
        self.metric, self.candidate, self.champion = metric, candidate, champion
        versions = (candidate, champion)
        self.times = {version: array("d") for version in versions}
        self.answered: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.retried: Counter[str] = Counter()
        self.own: dict[str, deque[Outcome]] = {version: deque(maxlen=MOST_ROWS) for version in versions}
        self.pairs: deque[tuple[Outcome, Outcome]] = deque(maxlen=MOST_ROWS)
        self.both: deque[tuple[Any, Any]] = deque(maxlen=MOST_ROWS)
        self.shadows = self.shadow_errors = 0
        self.cut, self.oldest = False, math.inf
        self._truth: dict[str, tuple[float, list[Any]]] = {}
        self._shadow: dict[str, Prediction] = {}

    def read_labels(self, folder: Path, since: float) -> None:
        """The newest label of each request; one that came before `since` is of an earlier request."""
        for origin in ORIGINS:
            for lines in LogReader(folder, origin, Label).newest(since, LABEL_BYTES)[0]:
                for line in lines:
                    if line.t >= self._truth.get(line.id, (0.0, []))[0]:
                        self._truth[line.id] = (line.t, line.y)

    def read_shadows(self, folder: Path, since: float) -> None:
        """Count the candidate's, and keep the newest answers."""
        for lines in LogReader(folder, "shadows", Prediction).newest(since, SHADOW_BYTES)[0]:
            for line in lines:
                if line.v != self.candidate:
                    continue
                self.shadows += 1
                if line.y is None:
                    self.shadow_errors += 1
                    continue
                self._shadow[line.id] = line
                if len(self._shadow) > MOST_ROWS:
                    del self._shadow[next(iter(self._shadow))]

    def read_predictions(self, folder: Path, since: float) -> None:
        """Count, and put the rows of each request together with its shadow's and its label's."""
        segments, self.cut = LogReader(folder, "predictions", Prediction).newest(since, PREDICTION_BYTES)
        for lines in segments:
            for line in lines:
                self.oldest = min(self.oldest, line.t)
                if line.retried_from is not None:
                    self.retried[line.retried_from] += 1
                if line.v in self.times:
                    self._take(line.v, line)

    def _take(self, version: str, line: Prediction) -> None:
        if line.y is None:
            self.failed[version] += 1
            return
        self.answered[version] += 1
        if line.ms is not None and line.retried_from is None:  # else most of it is the time of who failed
            self.times[version].append(line.ms)
        rows = len(line.y)
        truth = self._truth.get(line.id, (0.0, []))[1]
        own = outcomes(line, truth) if len(truth) == rows else []
        self.own[version].extend(one for one in own if one.usable(self.metric))
        shadow = self._shadow.get(line.id) if version == self.champion else None
        if shadow is None or shadow.y is None or len(shadow.y) != rows:
            return
        answers = zip(shadow.y, line.y, strict=True)
        self.both.extend(pair for pair in answers if usable(self.metric, *pair))
        if own:
            pairs = zip(outcomes(shadow, truth), own, strict=True)
            self.pairs.extend(pair for pair in pairs if all(one.usable(self.metric) for one in pair))

    def errors(self, version: str) -> int:
        """Failures that were logged, or retries elsewhere: a failure leaves both, a lost process only these."""
        return max(self.failed[version], self.retried[version])

    def disagreement(self) -> float | None:
        """Share of rows on which the shadow's answer is not the user's; of numbers, noticeably not."""
        if not self.both:
            return None
        if self.metric not in REGRESSION:
            return sum(not same_label(mine, theirs) for mine, theirs in self.both) / len(self.both)
        mine, theirs = np.asarray(self.both, dtype=float).T
        return float((np.abs(mine - theirs) > NOTICEABLE * float(theirs.std())).mean())

    def difference(self, classes: Sequence[object]) -> tuple[Score | None, int]:
        """The narrower of the paired and the unpaired difference, and the number of paired rows behind it."""
        paired = paired_difference(self.metric, self.pairs, classes)
        unpaired = unpaired_difference(*(self._score(version, classes) for version in (self.candidate, self.champion)))
        if paired is None or (unpaired is not None and _width(unpaired) < _width(paired)):
            return unpaired, 0
        return paired, paired.rows

    def allowed(self, classes: Sequence[object]) -> float:
        """The difference that is no loss yet, in units of the metric."""
        if self.metric in SHARES:
            return ABSOLUTE
        usual = self._score(self.champion, classes)
        return 0.0 if usual is None else RELATIVE * abs(1 - usual.value if self.metric == "r2" else usual.value)

    def _score(self, version: str, classes: Sequence[object]) -> Score | None:
        return outcome_score(self.metric, self.own[version], classes)


def _width(difference: Score) -> float:
    return difference.high - difference.low
