"""Fitted tree models as a plan's arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlauto.serving.plan.format import Trees
from mlauto.serving.plan.layout import CATEGORY, LEAF, MISSING_LEFT, NODE, WORDS
from mlauto.training.compile.builder import UnsupportedError

__all__ = ["forest", "gradient_boosted", "histogram_boosted", "single_tree"]

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class _Tree:
    """One tree's nodes with children counted from its own root; `values` where leaves have several numbers."""

    nodes: NDArray[Any]
    output: int = 0
    values: NDArray[Any] | None = None
    sets: NDArray[Any] | None = None


def histogram_boosted(model: Any, width: int) -> tuple[Trees, Arrays]:
    """`HistGradientBoosting*`, with missing values and native categories, whose codes the plan's steps make."""
    known, feature_to_set = model._bin_mapper.make_known_categories_bitsets()
    trees = [
        _histogram_tree(predictor, output, known, feature_to_set)
        for predictors in model._predictors
        for output, predictor in enumerate(predictors)
    ]
    baseline = tuple(np.ravel(model._baseline_prediction).astype(float).tolist())
    return Trees(width, baseline, _boosted_finish(model, ties=False)), _arrays(trees)


def gradient_boosted(model: Any, width: int) -> tuple[Trees, Arrays]:
    """`GradientBoosting*` that starts from zero or from a constant."""
    start = np.zeros(model.n_trees_per_iteration_)
    if not isinstance(model.init_, str):
        if type(model.init_).__name__ not in {"DummyClassifier", "DummyRegressor"}:
            raise UnsupportedError(f"{type(model).__name__} starts from the model {type(model.init_).__name__}")
        # what it adds to does not depend on the row: any row that it accepts will do
        start = model._raw_predict_init(np.zeros((1, model.n_features_in_), dtype=np.float32)).ravel()
    trees = []
    for stage in model.estimators_:
        for output, regressor in enumerate(stage):
            tree = _plain_tree(regressor.tree_, output)
            leaf = (tree.nodes["flags"] & LEAF) != 0
            tree.nodes["threshold"][leaf] *= model.learning_rate
            trees.append(tree)
    finish = _boosted_finish(model, ties=True)
    return Trees(width, tuple(start.astype(float).tolist()), finish, single=True), _arrays(trees)


def forest(model: Any, width: int) -> tuple[Trees, Arrays]:
    """Random forests and extra trees: the mean of their trees."""
    trees = [_plain_tree(estimator.tree_) for estimator in model.estimators_]
    return _mean(model, trees, width)


def single_tree(model: Any, width: int) -> tuple[Trees, Arrays]:
    """One decision tree."""
    return _mean(model, [_plain_tree(model.tree_)], width)


def _mean(model: Any, trees: Sequence[_Tree], width: int) -> tuple[Trees, Arrays]:
    if model.n_outputs_ != 1:
        raise UnsupportedError(f"{type(model).__name__} with several outputs is not compiled")
    classes = getattr(model, "classes_", None)
    outputs, finish = (1, "identity") if classes is None else (len(classes), "shares")
    plan = Trees(width, (0.0,) * outputs, finish, divide=float(len(trees)), single=True)
    return plan, _arrays(trees)


def _boosted_finish(model: Any, *, ties: bool) -> str:
    """What the sums mean, by the name of the loss."""
    loss = type(model._loss).__name__
    if loss == "HalfBinomialLoss":
        return "logistic_tie" if ties else "logistic"
    if loss == "HalfMultinomialLoss":
        return "softmax"
    link = type(getattr(model._loss, "link", None)).__name__
    if hasattr(model, "classes_") or link not in {"IdentityLink", "LogLink"}:
        raise UnsupportedError(f"{type(model).__name__} with the loss {loss} is not compiled")
    # GradientBoostingRegressor answers its sums whatever the loss
    return "exp" if link == "LogLink" and not ties else "identity"


def _histogram_tree(predictor: Any, output: int, known: NDArray[Any], feature_to_set: NDArray[Any]) -> _Tree:
    given = predictor.nodes
    nodes = np.zeros(len(given), dtype=NODE)
    leaf, category = (
        given["is_leaf"].astype(bool),
        given["is_categorical"].astype(bool) & ~given["is_leaf"].astype(bool),
    )
    nodes["threshold"] = np.where(leaf, given["value"], given["num_threshold"])
    nodes["left"], nodes["right"], nodes["feature"] = given["left"], given["right"], given["feature_idx"]
    nodes["flags"] = (
        leaf * LEAF + (given["missing_go_to_left"].astype(bool) & ~leaf) * MISSING_LEFT + category * CATEGORY
    )
    sets = np.zeros((int(category.sum()), 2 * WORDS), dtype=np.uint32)
    for number, place in enumerate(np.flatnonzero(category)):
        sets[number, :WORDS] = predictor.raw_left_cat_bitsets[given["bitset_idx"][place]]
        sets[number, WORDS:] = known[feature_to_set[given["feature_idx"][place]]]
    nodes["threshold"][category] = np.arange(len(sets))
    return _Tree(_cleaned(nodes), output, sets=sets)


def _plain_tree(tree: Any, output: int = 0) -> _Tree:
    nodes = np.zeros(tree.node_count, dtype=NODE)
    leaf = tree.children_left < 0
    several = tree.value.shape[2] > 1
    values = tree.value[:, 0, :]
    nodes["threshold"] = np.where(leaf, 0.0 if several else values[:, 0], tree.threshold)
    nodes["left"], nodes["right"], nodes["feature"] = tree.children_left, tree.children_right, tree.feature
    missing_left = tree.missing_go_to_left.astype(bool) & ~leaf
    nodes["flags"] = leaf * LEAF + missing_left * MISSING_LEFT
    nodes = _cleaned(nodes)
    if not several:
        return _Tree(nodes, output)
    nodes["threshold"][leaf] = np.arange(int(leaf.sum()))
    return _Tree(nodes, output, values=np.ascontiguousarray(values[leaf], dtype=np.float64))


def _cleaned(nodes: NDArray[Any]) -> NDArray[Any]:
    leaf = (nodes["flags"] & LEAF) != 0
    nodes["feature"][leaf] = 0
    for side in ("left", "right"):
        nodes[side][leaf] = np.flatnonzero(leaf)
    # an infinite threshold parts missing values from all others: no number lies beyond the largest one
    largest = np.finfo(np.float64).max
    nodes["threshold"][~leaf] = np.clip(nodes["threshold"][~leaf], -largest, largest)
    return nodes


def _arrays(trees: Sequence[_Tree]) -> Arrays:
    """All trees behind one another, with their children, sets and values counted through."""
    if not trees:
        raise UnsupportedError("the model has no trees")
    roots = np.cumsum([0, *(len(tree.nodes) for tree in trees)])[:-1]
    set_starts = np.cumsum([0, *(0 if tree.sets is None else len(tree.sets) for tree in trees)])
    value_starts = np.cumsum([0, *(0 if tree.values is None else len(tree.values) for tree in trees)])
    for tree, root, sets, values in zip(trees, roots, set_starts, value_starts, strict=False):
        leaf = (tree.nodes["flags"] & LEAF) != 0
        for side in ("left", "right"):
            tree.nodes[side] += root
        tree.nodes["threshold"][(tree.nodes["flags"] & CATEGORY) != 0] += sets
        if tree.values is not None:
            tree.nodes["threshold"][leaf] += values
    values = [tree.values for tree in trees if tree.values is not None]
    sets = [tree.sets for tree in trees if tree.sets is not None]
    return {
        "nodes": np.concatenate([tree.nodes for tree in trees]),
        "roots": roots.astype(np.int64),
        "outputs": np.array([tree.output for tree in trees], dtype=np.int32),
        "values": np.concatenate(values) if values else np.zeros((0, 1)),
        "sets": np.concatenate(sets) if sets else np.zeros((0, 2 * WORDS), dtype=np.uint32),
    }
