"""Which types a model file may consist of, and loading one that consists of nothing else. No pickle anywhere.

skops names every type that a file would make and that skops does not trust by itself. A name passes when it is on the
list here, or when the bundle lists it as a type of the team's own tree. The list was made by reading: classes of
scikit-learn's estimators, and numpy's and scipy's containers. Functions are not on it (a `FunctionTransformer` would
call them on every request), except for scikit-learn's metrics, which compute and do nothing else.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["UntrustedTypeError", "import_skops_quickly", "is_known", "load_model", "untrusted_types"]

# Packages whose classes hold arrays and parameters. Not among them: datasets (downloads), externals and utils.
SKLEARN_PACKAGES = (
    "_loss|calibration|cluster|compose|covariance|cross_decomposition|decomposition|discriminant_analysis|dummy|frozen|"
    "ensemble|feature_extraction|feature_selection|gaussian_process|impute|isotonic|kernel_approximation|kernel_ridge|"
    "linear_model|manifold|mixture|model_selection|multiclass|multioutput|naive_bayes|neighbors|neural_network|"
    "pipeline|preprocessing|random_projection|semi_supervised|svm|tree"
)
KNOWN = tuple(
    re.compile(pattern)
    for pattern in (
        # class names begin with a capital, module names do not
        rf"sklearn\.({SKLEARN_PACKAGES})(\.[a-z_][a-z0-9_]*)*\._{{0,2}}[A-Z][A-Za-z0-9_]*",
        r"sklearn\.compose\._column_transformer\.make_column_selector",
        r"sklearn\.utils\._bunch\.Bunch",
        r"sklearn\.metrics\._scorer\._[A-Z][A-Za-z]*",
        r"sklearn\.metrics\._(classification|ranking|regression)\.[a-z][a-z0-9_]*",
        r"sklearn\.metrics\._dist_metrics\.[A-Z][A-Za-z0-9]*",
        r"numpy\.(ndarray|dtype|matrix|bool_?|str_|bytes_|datetime64|timedelta64|void|object_)",
        r"numpy\.(u?int(8|16|32|64)|float(16|32|64|128)|longdouble|complex(64|128)|intp|longlong|ulonglong)",
        r"numpy\.dtypes\.[A-Z][A-Za-z0-9]*DType",
        r"numpy\.ma(\.core)?\.MaskedArray",
        r"numpy\.random\.(_generator\.Generator|mtrand\.RandomState|_?[a-z0-9]*\.?(MT19937|PCG64(DXSM)?|Philox|SFC64))",
        r"scipy\.sparse\.(_[a-z]+\.)?(bsr|coo|csc|csr|dia|dok|lil)_(matrix|array)",
        r"scipy\.interpolate\._(bsplines\.BSpline|interpolate\.interp1d|cubic\.PchipInterpolator)",
        r"collections\.(OrderedDict|defaultdict)",
    )
)
# Whatever a bundle says, no type of these can be the team's own.
NEVER_THE_TEAMS_OWN = frozenset({*sys.stdlib_module_names, "joblib", "mlauto", "numpy", "pandas", "scipy", "sklearn"})


class UntrustedTypeError(ValueError):
    """The file would make an object of a type that nobody vouches for; `names` lists them."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.names = tuple(names)
        super().__init__(
            f"{path.name} contains types that are not trusted: {', '.join(names)}; "
            "use scikit-learn's own estimators, or define these types in the model's repository"
        )


def is_known(name: str) -> bool:
    """True for a type on the base list: a class of an estimator, a numpy or scipy container."""
    return any(pattern.fullmatch(name) for pattern in KNOWN)


def untrusted_types(path: Path, trusted: Sequence[str]) -> tuple[str, ...]:
    """The types in a skops file that are neither on the base list nor in `trusted`, sorted.

    An entry of `trusted` from the standard library or from a library reviewed here counts for nothing.
    """
    import skops.io

    own = {name for name in trusted if name.partition(".")[0] not in NEVER_THE_TEAMS_OWN}
    found = skops.io.get_untrusted_types(file=path)
    return tuple(sorted(name for name in found if name not in own and not is_known(name)))


def load_model(path: Path, trusted: Sequence[str]) -> Any:
    """The object in a skops file. Raises `UntrustedTypeError` before anything in it is made.

    `trusted` are types of the team's own tree, whose modules must be importable. Verify the file's digest first: a
    trusted type with a tampered content can still crash the process.
    """
    import skops.io

    refused = untrusted_types(path, trusted)
    if refused:
        raise UntrustedTypeError(path, refused)
    return skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))


def import_skops_quickly() -> None:
    """Import skops without its search for every estimator of scikit-learn, which imports all of it (0.4 s, 30 MB).

    skops then trusts fewer types by itself, and the list here decides. Only for a process that does nothing else with
    skops: its own defaults stay short until the process ends.
    """
    if "skops.io" in sys.modules:
        return
    import sklearn.utils

    search = sklearn.utils.all_estimators
    sklearn.utils.all_estimators = list
    try:
        import skops.io  # noqa: F401 -- the import is what is wanted
    finally:
        sklearn.utils.all_estimators = search
