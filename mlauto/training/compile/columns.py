"""Fitted transformers as steps of a plan. Only scikit-learn's own classes: a subclass may do anything.

Every handler takes the features that reach a transformer and gives those that leave it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from mlauto.serving.plan.format import Arithmetic, Clip, Impute, Lookup, Missing, OneHot, Recode, Recoding, Table
from mlauto.training.compile.builder import Builder, Cell, Feature, Raw, UnsupportedError, filled, plain

__all__ = ["transformed"]

Handler = Callable[[Builder, Any, list[Feature]], list[Feature]]


def transformed(builder: Builder, transformer: Any, features: Sequence[Feature]) -> list[Feature]:
    """What a fitted transformer makes of the features. Raises `UnsupportedError` naming its class."""
    if transformer in {None, "passthrough"} if isinstance(transformer, str | None) else False:
        return list(features)
    kind = type(transformer)
    handler = HANDLERS.get(f"{kind.__module__.split('.')[0]}.{kind.__name__}")
    if handler is None:
        raise UnsupportedError(f"the transformer {kind.__name__} is not among those that can be compiled")
    return handler(builder, transformer, list(features))


def _column_transformer(builder: Builder, transformer: Any, features: list[Feature]) -> list[Feature]:
    found: list[Feature] = []
    for name, part, _columns in transformer.transformers_:
        places = transformer._transformer_to_input_indices[name]
        if part == "drop" or not len(places):
            continue
        found += transformed(builder, part, [features[place] for place in places])
    return found


def _pipeline(builder: Builder, transformer: Any, features: list[Feature]) -> list[Feature]:
    for _name, part in transformer.steps:
        features = transformed(builder, part, features)
    return features


def _feature_union(builder: Builder, transformer: Any, features: list[Feature]) -> list[Feature]:
    if transformer.transformer_weights:
        raise UnsupportedError("FeatureUnion with transformer_weights is not compiled")
    parts = [part for _name, part in transformer.transformer_list if part != "drop"]
    return [feature for part in parts for feature in transformed(builder, part, features)]


def _function(_builder: Builder, transformer: Any, features: list[Feature]) -> list[Feature]:
    function = transformer.func
    if isinstance(function, partial) and function.func.__qualname__ == "check_array":
        function = None  # how boosted trees pass on the columns that are no categories
    if function is not None:
        raise UnsupportedError(f"FunctionTransformer calls the function {transformer.func!r}")
    return features


def _selected(_builder: Builder, transformer: Any, features: list[Feature]) -> list[Feature]:
    kept = transformer.get_support()
    return [feature for feature, keep in zip(features, kept, strict=True) if keep]


def _imputer(builder: Builder, transformer: Any, features: list[Feature]) -> list[Feature]:
    if plain(transformer.missing_values) is not None:
        raise UnsupportedError(f"SimpleImputer looks for {transformer.missing_values!r} instead of missing values")
    statistics = [plain(value) for value in transformer.statistics_]
    if any(value is None for value in statistics):
        raise UnsupportedError("SimpleImputer saw a column without any value")
    found: list[Feature] = []
    for feature, fill in zip(features, statistics, strict=True):
        if isinstance(feature, Raw):
            found.append(filled(feature, fill))
    cells = [feature for feature in features if isinstance(feature, Cell)]
    if cells:
        if found:
            raise UnsupportedError("SimpleImputer after transformers of only some of its columns is not compiled")
        source = builder.matrix(cells, "SimpleImputer")
        found = builder.add(Impute(source, tuple(float(value) for value in statistics)))
    if transformer.add_indicator:
        places = tuple(int(place) for place in transformer.indicator_.features_)
        if places:
            found += _indicators(builder, [features[place] for place in places])
    return found


def _indicators(builder: Builder, features: list[Feature]) -> list[Feature]:
    """1 where a value is missing. A column of text has its own way: a table without values."""
    found: list[Feature] = []
    for feature in features:
        if isinstance(feature, Raw):
            if feature.fill is not None:
                raise UnsupportedError("an indicator of missing values behind an imputer is not compiled")
            found += builder.add(Lookup((Table(feature.column, (), (), unknown=0.0, missing=1.0),)))
        else:
            found += builder.add(Missing(feature.step, (feature.place,)))
    return found


def _numbers(builder: Builder, transformer: Any, features: Sequence[Feature], *steps: tuple[str, Any]) -> list[Feature]:
    """Operations with one number for each feature, one after the other."""
    source = builder.matrix(features, type(transformer).__name__)
    found: list[Feature] = list(features)
    for operator, values in steps:
        if values is None:
            continue
        if not np.isfinite(values).all():
            raise UnsupportedError(f"{type(transformer).__name__} has numbers that are not finite")
        found = builder.add(Arithmetic(source, operator, tuple(np.asarray(values, dtype=np.float64).tolist())))
        source = builder.matrix(found, type(transformer).__name__)
    return found


def _standard(builder: Builder, transformer: Any, features: list[Feature]) -> list[Feature]:
    mean = transformer.mean_ if transformer.with_mean else None
    scale = transformer.scale_ if transformer.with_std else None
    return _numbers(builder, transformer, features, ("subtract", mean), ("divide", scale))


def _robust(builder: Builder, transformer: Any, features: list[Feature]) -> list[Feature]:
    center = transformer.center_ if transformer.with_centering else None
    scale = transformer.scale_ if transformer.with_scaling else None
    return _numbers(builder, transformer, features, ("subtract", center), ("divide", scale))


def _max_abs(builder: Builder, transformer: Any, features: list[Feature]) -> list[Feature]:
    found = _numbers(builder, transformer, features, ("divide", transformer.scale_))
    return _clipped(builder, transformer, found, -1.0, 1.0)


def _min_max(builder: Builder, transformer: Any, features: list[Feature]) -> list[Feature]:
    found = _numbers(builder, transformer, features, ("multiply", transformer.scale_), ("add", transformer.min_))
    return _clipped(builder, transformer, found, *transformer.feature_range)


def _clipped(builder: Builder, transformer: Any, features: list[Feature], low: float, high: float) -> list[Feature]:
    if not getattr(transformer, "clip", False):
        return features
    return builder.add(Clip(builder.matrix(features, "clip"), float(low), float(high)))


def _one_hot(builder: Builder, transformer: Any, features: list[Feature]) -> list[Feature]:
    offsets = np.cumsum([0, *transformer._n_features_outs])
    tables = []
    for number, feature in enumerate(features):
        categories = transformer.categories_[number]
        places = _places(transformer, number, len(categories), int(offsets[number]))
        unknown, refuse = None, transformer.handle_unknown == "error"
        if transformer.handle_unknown in {"infrequent_if_exist", "warn"}:
            unknown = _infrequent_place(transformer, number, places)
        tables.append(_table(feature, transformer, categories, places, unknown=unknown, refuse=refuse))
    return builder.add(OneHot(tuple(tables), int(offsets[-1])))


def _places(transformer: Any, number: int, count: int, offset: int) -> list[float | None]:
    """Where the one of each category goes; None for the dropped one."""
    groups = np.arange(count)
    if transformer._infrequent_enabled and transformer._default_to_infrequent_mappings[number] is not None:
        groups = transformer._default_to_infrequent_mappings[number]
    dropped = None if transformer._drop_idx_after_grouping is None else transformer._drop_idx_after_grouping[number]
    if dropped is None:
        return [float(offset + group) for group in groups]
    return [None if group == dropped else float(offset + group - (group > dropped)) for group in groups]


def _infrequent_place(transformer: Any, number: int, places: Sequence[float | None]) -> float | None:
    infrequent = transformer._infrequent_indices[number] if transformer._infrequent_enabled else None
    return None if infrequent is None or not len(infrequent) else places[int(infrequent[0])]


def _ordinal(builder: Builder, transformer: Any, features: list[Feature]) -> list[Feature]:
    if getattr(transformer, "_infrequent_enabled", False):
        raise UnsupportedError("OrdinalEncoder with infrequent categories is not compiled")
    refuse = transformer.handle_unknown == "error"
    unknown = None if refuse else plain(transformer.unknown_value)
    absent = plain(transformer.encoded_missing_value)
    if all(isinstance(feature, Cell) for feature in features):
        return _recoded(builder, transformer, features, unknown=unknown, absent=absent)
    tables = []
    for number, feature in enumerate(features):
        categories = transformer.categories_[number]
        codes = [absent if plain(value) is None else float(place) for place, value in enumerate(categories)]
        tables.append(_table(feature, transformer, categories, codes, unknown=unknown, refuse=refuse))
    return builder.add(Lookup(tuple(tables)))


def _recoded(
    builder: Builder, transformer: Any, features: list[Feature], *, unknown: float | None, absent: float | None
) -> list[Feature]:
    """Codes of codes, as boosted trees make them of categories that an encoder has numbered before."""
    if transformer.handle_unknown == "error":
        raise UnsupportedError("OrdinalEncoder that refuses unknown values behind another transformer is not compiled")
    recodings = []
    for categories in transformer.categories_:
        known = {float(value): float(place) for place, value in enumerate(categories) if plain(value) is not None}
        if not known:
            raise UnsupportedError("OrdinalEncoder saw a column without any value")
        missing = absent if len(known) < len(categories) else unknown
        recodings.append(Recoding(tuple(known), tuple(known.values()), unknown=unknown, missing=missing))
    return builder.add(Recode(builder.matrix(features, "OrdinalEncoder"), tuple(recodings)))


def _table(
    feature: Feature,
    transformer: Any,
    categories: Any,
    codes: Sequence[float | None],
    *,
    unknown: float | None,
    refuse: bool,
) -> Table:
    """A column's table. A missing value is a category of its own, unless it never occurred: then it is unknown."""
    if not isinstance(feature, Raw):
        raise UnsupportedError(f"{type(transformer).__name__} behind another transformer is not compiled")
    values = [plain(value) for value in categories]
    known = {value: code for value, code in zip(values, codes, strict=True) if value is not None}
    missing, refuse_missing = unknown, refuse
    if feature.fill is not None:
        missing = known.get(feature.fill, unknown)
        refuse_missing = refuse and feature.fill not in known
    elif None in values:
        missing, refuse_missing = codes[values.index(None)], False
    return Table(
        feature.column,
        tuple(known),
        tuple(None if code is None else float(code) for code in known.values()),
        unknown=None if unknown is None else float(unknown),
        missing=None if missing is None else float(missing),
        refuse_unknown=refuse,
        refuse_missing=refuse_missing,
    )


HANDLERS: Mapping[str, Handler] = {
    "sklearn.ColumnTransformer": _column_transformer,
    "sklearn.Pipeline": _pipeline,
    "sklearn.FeatureUnion": _feature_union,
    "sklearn.FunctionTransformer": _function,
    "sklearn.VarianceThreshold": _selected,
    "sklearn.SelectKBest": _selected,
    "sklearn.SelectPercentile": _selected,
    "sklearn.SelectFromModel": _selected,
    "sklearn.SimpleImputer": _imputer,
    "sklearn.StandardScaler": _standard,
    "sklearn.RobustScaler": _robust,
    "sklearn.MaxAbsScaler": _max_abs,
    "sklearn.MinMaxScaler": _min_max,
    "sklearn.OneHotEncoder": _one_hot,
    "sklearn.OrdinalEncoder": _ordinal,
}
