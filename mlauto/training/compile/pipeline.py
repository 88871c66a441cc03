"""A fitted pipeline, compiled. What is not known for sure is refused: such a model is served as it is."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace
from numpy.typing import NDArray

from mlauto.serving.plan.format import Average, Linear, Plan, Trees
from mlauto.training.compile import linear, trees, voting
from mlauto.training.compile.builder import Builder, Feature, UnsupportedError
from mlauto.training.compile.columns import transformed

__all__ = ["compile_pipeline"]

Arrays = dict[str, NDArray[Any]]
Handler = Callable[[Any, int], tuple[Trees | Linear, Arrays]]
REGRESSORS = (
    *("LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV", "BayesianRidge"),
    *("ARDRegression", "HuberRegressor", "TheilSenRegressor", "Lars", "LassoLars", "SGDRegressor", "LinearSVR"),
)
HANDLERS: Mapping[str, Handler] = {
    "HistGradientBoostingClassifier": trees.histogram_boosted,
    "HistGradientBoostingRegressor": trees.histogram_boosted,
    "GradientBoostingClassifier": trees.gradient_boosted,
    "GradientBoostingRegressor": trees.gradient_boosted,
    "RandomForestClassifier": trees.forest,
    "RandomForestRegressor": trees.forest,
    "ExtraTreesClassifier": trees.forest,
    "ExtraTreesRegressor": trees.forest,
    "DecisionTreeClassifier": trees.single_tree,
    "DecisionTreeRegressor": trees.single_tree,
    "ExtraTreeClassifier": trees.single_tree,
    "ExtraTreeRegressor": trees.single_tree,
    "LogisticRegression": linear.logistic,
    "LogisticRegressionCV": linear.logistic,
    "SGDClassifier": linear.stochastic,
    "RidgeClassifier": linear.classifier,
    "RidgeClassifierCV": linear.classifier,
    "LinearSVC": linear.classifier,
    "Perceptron": linear.classifier,
    "PoissonRegressor": linear.generalized,
    "GammaRegressor": linear.generalized,
    "TweedieRegressor": linear.generalized,
    **dict.fromkeys(REGRESSORS, linear.regressor),
}


def compile_pipeline(model: Any, columns: Mapping[str, str], classes: Sequence[Any]) -> tuple[Plan, Arrays]:
    """The plan of a fitted pipeline, estimator or average for a signature's columns (name -> kind), and its arrays.

    Raises `UnsupportedError` naming the part that cannot be compiled. That the plan answers the same is for `proof`.
    """
    builder = Builder(columns)
    features, final = _unwrapped(builder, builder.start(), model)
    final, shift, threshold = voting.correction(final)
    plan: Trees | Linear | Average
    if voting.is_known(final):
        average, arrays = voting.average(builder, final, features, len(classes), _single)
        plan = replace(average, shift=shift, threshold=threshold)
        steps = builder.steps
    else:
        last, plan, arrays = _estimator(builder, features, final)
        steps = builder.steps[: last + 1]
    number = 2 if shift or threshold is not None else 1
    return Plan(
        format=number, columns=tuple(columns), steps=tuple(steps), estimator=plan, classes=tuple(classes)
    ), arrays


def _single(builder: Builder, features: list[Feature], model: Any) -> voting.Compiled:
    features, final = _unwrapped(builder, features, model)
    return (final, *_estimator(builder, features, final))


def _unwrapped(builder: Builder, features: list[Feature], model: Any) -> tuple[list[Feature], Any]:
    """The final estimator of pipelines and searches, and the features that reach it."""
    while True:
        if type(model).__name__ in {"GridSearchCV", "RandomizedSearchCV"}:
            model = model.best_estimator_
        elif type(model).__name__ == "Pipeline":
            for _name, part in model.steps[:-1]:
                features = transformed(builder, part, features)
            model = model.steps[-1][1]
        else:
            return features, model


def _estimator(builder: Builder, features: list[Feature], estimator: Any) -> tuple[int, Trees | Linear, Arrays]:
    """The number of the step that makes what the estimator takes, the estimator as data, and its arrays."""
    kind = type(estimator)
    handler = HANDLERS.get(kind.__name__)
    if handler is None or not kind.__module__.startswith("sklearn."):
        raise UnsupportedError(f"the estimator {kind.__name__} is not among those that can be compiled")
    features = _own_preparation(builder, estimator, features)
    last = builder.matrix(features, kind.__name__)
    return (last, *handler(estimator, len(features)))


def _own_preparation(builder: Builder, estimator: Any, features: list[Feature]) -> list[Feature]:
    """Boosted trees encode native categories themselves, and put them first."""
    own = getattr(estimator, "_preprocessor", None)
    return features if own is None else transformed(builder, own, features)
