"""All tests of a window against its reference profile, and which of them are proven to matter."""

from mlauto.measured import DriftReport, Finding
from mlauto.monitoring.drift.bounds import Budget
from mlauto.monitoring.drift.correlations import pair_indices
from mlauto.monitoring.drift.counts import Counts
from mlauto.monitoring.drift.distances import level_distances, number_distances
from mlauto.monitoring.drift.profile import Levels, Numbers, Profile
from mlauto.monitoring.drift.tests import level_findings, number_findings, number_of_tests, pair_finding

__all__ = ["FEWEST_ROWS", "budget_of", "drift_report"]

FEWEST_ROWS = 100  # of a window; fewer prove nothing, and their figures are mostly noise
CALM = 200  # findings that did not alarm and are kept all the same, the strongest: a product has hundreds of pairs


def budget_of(profile: Profile, looks: float, *, rows: int = 0, seconds: float | None = None) -> Budget:
    """The budget of a year of so many looks, at windows of so many rows that came within so many seconds."""
    tests = sum(map(number_of_tests, profile.subjects().values())) + len(profile.pairs.values)
    pace = 1.0
    if profile.span and seconds is not None and rows:
        pace = min(1.0, profile.rows / profile.span * seconds / rows)
    return Budget(tests, looks, pace=pace)


def drift_report(
    profile: Profile, counts: Counts, budget: Budget, *, since: float | None = None, until: float | None = None
) -> DriftReport | None:
    """The report, strongest findings first; None without a reference, or for fewer than 100 rows.

    Predictions are tested when the window has any: a log of failures has none. All findings that alarm are in it, and
    the 200 strongest of the others.
    """
    if not profile.rows or counts.rows < FEWEST_ROWS:
        return None
    findings: list[Finding] = []
    shown: dict[str, dict[str, float]] = {}
    for subject, reference in profile.subjects().items():
        if isinstance(reference, Numbers):
            numbers = counts.numbers[subject]
            findings += number_findings(subject, reference, numbers, budget)
            distances = number_distances(reference, numbers)
        else:
            assert isinstance(reference, Levels)  # noqa: S101 # for the type checker
            findings += level_findings(subject, reference, counts.levels[subject], budget)
            distances = level_distances(reference, counts.levels[subject])
        if distances:
            shown[subject] = {name: round(value, 6) for name, value in distances.items()}
    findings += _pair_findings(profile, counts, budget)
    findings.sort(key=_strength, reverse=True)
    alarmed = [finding for finding in findings if finding.alarmed]
    calm = [finding for finding in findings if not finding.alarmed]
    return DriftReport(rows=counts.rows, since=since, until=until, findings=(*alarmed, *calm[:CALM]), shown=shown)


def _pair_findings(profile: Profile, counts: Counts, budget: Budget) -> list[Finding]:
    pairs = profile.pairs
    if not pairs.values:
        return []
    values, rows = counts.moments.correlations()
    first, second = pair_indices(len(pairs.columns))
    found = []
    for place, (one, other) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        if rows[place] >= FEWEST_ROWS:
            known = (pairs.values[place], pairs.variances[place], pairs.curves[place], profile.rows)
            subject = f"{pairs.columns[one]} ~ {pairs.columns[other]}"
            found.append(pair_finding(subject, float(values[place]), float(rows[place]), known, budget))
    return found


def _strength(finding: Finding) -> tuple[bool, float]:
    """Alarms first; among them the effect that is proven, in units of what matters."""
    proven = max(finding.low, -finding.high, 0.0)
    return finding.alarmed, proven / finding.margin if proven > 0 else -1 / (1 + abs(finding.effect) / finding.margin)
