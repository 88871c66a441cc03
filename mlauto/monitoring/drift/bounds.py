"""Confidence bounds that hold at any level and number of rows, in closed form: no p-value is ever computed.

`Budget` says how unlikely an alarm without cause must be, and hands each test of each look its part (Bonferroni).
"""

import math
from dataclasses import dataclass

__all__ = ["ALPHA", "YEAR", "Budget", "Sample", "rate_bounds"]

ALPHA = 0.01  # the chance of any alarm without cause in a year
HALVINGS = 40
YEAR = 365.25 * 86400.0


@dataclass(frozen=True)
class Budget:
    """The chance of an alarm without cause over `looks` looks at `tests` tests.

    `pace`: rows of the reference that came in the time in which one row of the window came, at most 1.
    """

    tests: int
    looks: float
    alpha: float = ALPHA
    pace: float = 1.0

    @property
    def exponent(self) -> float:
        """-log of the chance that is left to one side of one test at one look."""
        return math.log(2 * max(1, self.tests) * max(1.0, self.looks) / self.alpha)

    @property
    def reference_exponent(self) -> float:
        """The same for what is looked at once, which the reference is."""
        return math.log(2 * max(1, self.tests) / self.alpha)


@dataclass(frozen=True)
class Sample:
    """A window of `rows` and a reference of `known` rows, worth fewer independent ones by their design effects."""

    rows: int
    known: int
    effect: float = 1.0
    known_effect: float = 1.0

    @property
    def independent(self) -> float:
        """The number of independent rows whose mean varies as the difference of the two means does."""
        return 1 / (self.effect / self.rows + self.known_effect / self.known)

    def mean(self, variance: float, largest: float, exponent: float) -> float:
        """How far the difference of two means is from its expectation at most (Bernstein's inequality).

        Of values that are within `largest` of their mean and have that variance.
        """
        n = self.independent
        return math.sqrt(2 * exponent * variance / n) + largest * exponent / (3 * n)

    def norm(self, trace: float, variance: float, largest: float, exponent: float) -> float:
        """The same for the length of a difference of mean vectors: `trace` sums, `variance` bounds the directions'.

        The mean length is at most the root of the trace; it is exceeded as a number is (Boucheron, Lugosi and Massart
        2013, chapter 12, with the constants of a normal vector).
        """
        n = self.independent
        return math.sqrt(trace / n) + math.sqrt(2 * exponent * variance / n) + largest * exponent / (3 * n)


def rate_bounds(count: float, rows: float, exponent: float) -> tuple[float, float]:
    """Bounds of a probability from a count, exact at 0 and at all: Chernoff's, inverted (Hoeffding 1963, theorem 1)."""
    if rows <= 0:
        return 0.0, 1.0
    rate = min(1.0, count / rows)
    limit = exponent / rows
    if rate == 0:
        return 0.0, -math.expm1(-limit)
    if rate == 1:
        return math.exp(-limit), 1.0
    return _crossing(rate, 0.0, limit), _crossing(rate, 1.0, limit)


def _crossing(rate: float, end: float, limit: float) -> float:
    """The probability between the rate and that end whose relative entropy reaches the limit."""
    near, far = rate, end
    for _ in range(HALVINGS):
        middle = (near + far) / 2
        if _entropy(rate, middle) < limit:
            near = middle
        else:
            far = middle
    return far


def _entropy(rate: float, probability: float) -> float:
    if not 0 < probability < 1:
        return math.inf
    entropy = 0.0
    if rate > 0:
        entropy += rate * math.log(rate / probability)
    if rate < 1:
        entropy += (1 - rate) * math.log((1 - rate) / (1 - probability))
    return entropy
