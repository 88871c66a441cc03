"""Findings in words, with effects in units that a person understands."""

from mlauto.measured import Finding

__all__ = ["sentence"]

SHARES = {
    "nulls": "{effect} {unit}",
    "unseen": "{effect} {unit}",
    "type": "{effect} {unit}",
    "range": "{effect} {unit}",
    "spread": "spread {effect} {unit}",
}
SIZES = {
    "location": "location moved by {effect} {unit}",
    "shape": "shape moved by {effect} {unit}",
    "categories": "levels moved by {effect} {unit}",
    "correlation": "moved by {effect} {unit}",
}


def sentence(finding: Finding) -> str:
    """What moved, which way and by how much: "price: location moved by +0.31 sd of the reference".

    A detail that is known follows in brackets.
    """
    if finding.test in SHARES:
        signed = finding.test in {"spread", "nulls"}
        said = SHARES[finding.test].format(effect=_percent(finding.effect, signed=signed), unit=finding.unit)
    else:
        signed = finding.test in {"location", "correlation"}
        number = f"{finding.effect:+.2f}" if signed else f"{finding.effect:.2f}"
        said = SIZES.get(finding.test, finding.test + " {effect} {unit}").format(effect=number, unit=finding.unit)
    return f"{finding.subject}: {said}" + (f" ({finding.detail})" if finding.detail else "")


def _percent(share: float, *, signed: bool) -> str:
    return f"{share:{'+' if signed else ''}.{0 if abs(share) >= 0.1 else 2}%}".replace("%", " %")
