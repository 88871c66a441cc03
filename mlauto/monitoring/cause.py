"""What the inputs say about a loss: broken at their source, really moved, or where they were. Pure.

People, weather and prices move a column within what was known of it, and hardly ever stop having a value. A join that
fails, a unit or a code that changes does what these thresholds ask for, and a new model would learn the fault.
"""

from mlauto.measured import DriftReport, Finding

__all__ = ["LIMITS", "broken_inputs", "moved_inputs", "strange"]

LIMITS = {  # test -> share of the rows, to be proven
    "nulls": 0.05,  # more than in training: a source fails, nobody's habits change like that
    "unseen": 0.50,  # levels never seen: a code was changed; a new product or region is a smaller part
    "type": 0.10,  # a value of another type: the schema changed
    "range": 0.60,  # several of training's ranges away (`newest.py`): another unit, neither season nor market does that
}
OF_A_WINDOW = frozenset({"nulls", "unseen", "type"})  # whether a column is measured in units, its profile knows only
WORDS = {
    "nulls": "is missing in {} more of the rows than in training",
    "unseen": "has values never seen in training in {} of the rows",
    "type": "is of another type than in training in {} of the rows",
    "range": "is far outside training's range in {} of the rows",
}
PREDICTION = "prediction"
SHOWN = 3


def broken_inputs(drifted: DriftReport | None) -> str:
    """In what way the inputs are broken at their source, "" where they are not or are not known.

    Proven only: the confidence bound nearer to nothing must lie beyond the limit.
    """
    found = drifted.alarmed if drifted is not None else ()
    inputs = [one for one in found if one.subject != PREDICTION and one.test in OF_A_WINDOW]
    broken = [one for one in inputs if one.low >= LIMITS[one.test]]
    return strange([(one.subject, one.test, one.effect) for one in broken])


def strange(found: list[tuple[str, str, float]]) -> str:
    """The sentence about columns that are broken: (column, test, share of the rows); "" about none."""
    told = [f"{subject} {WORDS[test].format(_percent(share))}" for subject, test, share in found]
    more = f" and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
    return f"upstream data is broken: {', '.join(told[:SHOWN])}{more}" if told else ""


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def moved_inputs(drifted: DriftReport | None) -> str | None:
    """Which inputs moved, "" for none of them, None where that is not known."""
    if drifted is None:
        return None
    moved: list[Finding] = [one for one in drifted.alarmed if one.subject != PREDICTION]
    told = ", ".join(f"{one.subject} ({one.test} by {one.effect:.2g})" for one in moved[:SHOWN])
    return f"inputs moved: {told}" if told else ""
