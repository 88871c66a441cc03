"""What the inputs say about a loss: broken at their source, really moved, or where they were. Pure.

People, weather and prices move a column within a few of its own ranges, and hardly ever stop having a value. A join
that fails, a unit or a code that changes does what these thresholds ask for, and a new model would learn the fault.
"""

from collections.abc import Callable

from mlauto.measured import DriftReport, Finding

__all__ = ["broken_inputs", "moved_inputs"]

NULLS = 0.10  # of all rows more than in training: a source fails, nobody's habits change like that
UNSEEN = 0.50  # of the rows have a level never seen: a code was changed; a new product or region is a smaller part
FAR = 0.20  # of the rows are farther from all of training's than those are from one another: another unit
HUGE = 10.0  # reference standard deviations by which a mean moved: an order of magnitude
PREDICTION = "prediction"
SHOWN = 3

Rule = tuple[float, Callable[[Finding, float], str]]


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


RULES: dict[str, Rule] = {
    "nulls": (NULLS, lambda one, by: f"{one.subject} is missing in {_percent(by)} more of the rows than in training"),
    "unseen": (
        UNSEEN,
        lambda one, by: f"{one.subject} has values never seen in training in {_percent(by)} of the rows",
    ),
    "alien": (
        NULLS,
        lambda one, by: f"{one.subject} is of another type than in training in {_percent(by)} of the rows",
    ),
    "far": (FAR, lambda one, by: f"{one.subject} is far out of training's range in {_percent(by)} of the rows"),
    "location": (HUGE, lambda one, by: f"{one.subject} moved by {by:.0f} {one.unit}"),
}


def broken_inputs(drifted: DriftReport | None) -> str:
    """In what way the inputs are broken at their source, "" where they are not or are not known.

    Proven only: the confidence bound nearer to nothing must lie beyond the threshold.
    """
    if drifted is None:
        return ""
    found = [_broken(finding) for finding in drifted.alarmed if finding.subject != PREDICTION]
    told = [words for words in found if words]
    more = f" and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
    return f"upstream data is broken: {', '.join(told[:SHOWN])}{more}" if told else ""


def moved_inputs(drifted: DriftReport | None) -> str | None:
    """Which inputs moved, "" for none of them, None where that is not known."""
    if drifted is None:
        return None
    moved = [finding for finding in drifted.alarmed if finding.subject != PREDICTION]
    told = ", ".join(f"{one.subject} ({one.test} by {one.effect:.2g} {one.unit})" for one in moved[:SHOWN])
    return f"inputs moved: {told}" if told else ""


def _broken(finding: Finding) -> str:
    """The words for a finding that real drift does not explain, "" for all others."""
    limit, words = RULES.get(finding.test, (0.0, None))
    if words is None:
        return ""
    if finding.test == "location":
        proven = max(finding.low, -finding.high)  # in either direction
        return words(finding, abs(finding.effect)) if proven >= limit else ""
    return words(finding, finding.effect) if finding.low >= limit else ""
