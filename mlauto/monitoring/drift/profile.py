"""What training saw, as small as it can be: per column bins or levels with counts, how rows depend, correlations.

A profile is fitted once, from the newest training rows in the order of time, and stored beside the model.
"""

import msgspec

from mlauto.records import Score

__all__ = ["PREDICTION", "Curve", "Levels", "Numbers", "Pairs", "Profile"]

PREDICTION = "prediction"  # the subject of what the model answered; a column of that name is "column prediction"

# Design effects (variance of a mean over a block of dependent rows, in units of that over independent rows), for blocks
# of 1, 2, 4, 8 ... rows, as long as there are 32 blocks.
Curve = list[float]


class Numbers(msgspec.Struct, frozen=True, tag="numbers"):
    """A column of numbers: bin k holds `counts[k]` reference rows from `edges[k - 1]` to below `edges[k]`.

    `scores` are the bins' mean normal scores. With a `grid` (origin, cells per unit) all edges lie on the borders of
    its cells, so that a bin is found without searching. Outside `far` lies what is farther from all reference rows than
    half their own range. `still` is false for a column that runs with time or counts rows, such as a date or an id:
    only its type and its missing values are tested. `curves` are the design effects of the four components, and of
    missing values.
    """

    edges: list[float]
    counts: list[int]
    scores: list[float]
    far: tuple[float, float]
    mean: float
    sd: float
    nulls: int
    still: bool
    curves: list[Curve]
    grid: tuple[float, float] | None = None

    @property
    def filled(self) -> int:
        """Reference rows with a value."""
        return sum(self.counts)


class Levels(msgspec.Struct, frozen=True, tag="levels"):
    """A column of texts or truth values: the `counts` of its common levels, and of all `rare` ones together.

    `known` names rare levels, as many as are worth it; `fresh` is the share of rows whose level is expected to be none
    of either (Good and Turing's estimate: the levels that occurred once). `curves`: design effects of the levels, and
    of missing values.
    """

    counts: dict[str, int]
    rare: int
    known: list[str]
    fresh: float
    nulls: int
    curves: list[Curve]

    @property
    def filled(self) -> int:
        """Reference rows with a value."""
        return sum(self.counts.values()) + self.rare


class Pairs(msgspec.Struct, frozen=True):
    """Correlations of normal scores: one entry per pair, in the order (0, 1), (0, 2) ... (1, 2) ... of `columns`.

    `variances` are those of the correlation's influence function: its standard error over n independent rows is the
    root of the variance over n.
    """

    columns: list[str] = []
    values: list[float] = []
    variances: list[float] = []
    curves: list[Curve] = []


class Profile(msgspec.Struct, frozen=True):
    """The reference of one model version over `rows` rows; `answers` are its predictions on rows it had not seen.

    `expected` is the metric that it is expected to keep, with its 95 % bounds; `span` the seconds from the first row to
    the last where they carry times. A record of an earlier kind is read as a profile of no rows.
    """

    rows: int = 0
    columns: dict[str, Numbers | Levels] = {}
    pairs: Pairs = Pairs()
    answers: Numbers | Levels | None = None
    expected: Score | None = None
    span: float | None = None

    def subjects(self) -> dict[str, Numbers | Levels]:
        """All that is tested, by subject: the columns, and the predictions where they are known."""
        renamed = {f"column {name}" if name == PREDICTION else name: one for name, one in self.columns.items()}
        return renamed if self.answers is None else {**renamed, PREDICTION: self.answers}
