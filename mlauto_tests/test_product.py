"""The product's YAML: what is accepted, what is refused, and the defaults."""

from typing import Any

import pytest
from pydantic import ValidationError

from mlauto.product import ModelProduct
from mlauto.product_training import POLICIES, Policy


def make(**sections: Any) -> ModelProduct:
    """A small product, with keys of its sections replaced; None removes a key."""
    written: dict[str, Any] = {
        "name": "bike",
        "code": {"repository": "models/bike", "estimator": "bike.model:build"},
        "data": {"landing": "landing/bike", "target": "target", "task": "regression"},
    }
    for name, keys in sections.items():
        written[name] = {**written.get(name, {}), **keys} if isinstance(keys, dict) else keys
    return ModelProduct.model_validate(written)


def refused(words: str, **sections: Any) -> None:
    """The product is refused with these words."""
    with pytest.raises(ValidationError, match=words):
        make(**sections)


def test_the_smallest_product() -> None:
    """Three sections of required keys are enough; the rest are defaults."""
    product = make()

    assert product.code.branch == "main"
    assert product.code.checks == ("ruff check .", "pytest -q")
    assert product.training.policy == POLICIES["economy"]
    assert (product.delivery.mode, product.delivery.watch) == ("auto", 3600.0)
    assert product.monitoring.every == 60.0
    assert (product.metric, product.tolerance) == ("mae", 0.10)


def test_the_whole_yaml_of_the_design() -> None:
    """The example that people copy is accepted as it stands."""
    product = make(
        owners=["team:forecasting"],
        data={"timestamp": "timestamp", "exclude": ["casual", "registered"]},
        training={"retrain": "quality"},
        delivery={"mode": "approve", "bake": "5m", "watch": "2h"},
        monitoring={"every": "60s", "metric": "rmse", "slo": {"p99_ms": 50, "error_rate": 0.01}},
    )

    assert product.data.exclude == ("casual", "registered")
    assert (product.delivery.bake, product.delivery.watch) == (300.0, 7200.0)
    assert product.monitoring.slo.p99_ms == 50
    assert product.metric == "rmse"
    assert product.training.policy.every_batches == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("30s", 30), ("5m", 300), ("1.5h", 5400), ("2d", 172800), (" 7 s ", 7), (12, 12), (0, 0)],
)
def test_durations(text: object, seconds: float) -> None:
    """Text with a unit, or plain seconds."""
    assert make(monitoring={"every": text}).monitoring.every == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["soon", "5", "-3s", "1w", "", "3 min", "s"])
def test_what_is_no_duration(text: str) -> None:
    """The message shows how to write one."""
    refused("write for example 30s", monitoring={"every": text})


def test_a_negative_duration_is_refused() -> None:
    """Plain numbers have a sign; time does not."""
    refused("greater than or equal to 0", monitoring={"every": -1})


@pytest.mark.parametrize("section", ["code", "data", "training", "delivery", "monitoring"])
def test_unknown_keys_are_refused_everywhere(section: str) -> None:
    """A typo never silently means a default."""
    refused("Extra inputs are not permitted", **{section: {"colour": "red"}})


def test_unknown_sections_are_refused() -> None:
    """Also on the top level, and in a section of a section."""
    refused("Extra inputs are not permitted", colours={"a": 1})
    refused("Extra inputs are not permitted", monitoring={"slo": {"p50": 3}})


@pytest.mark.parametrize(
    "estimator", ["build", "bike.model", "bike.model:", ":build", "bike.model:build()", "a b:c", "a:b.c"]
)
def test_an_estimator_names_a_function(estimator: str) -> None:
    """Anything that could not be imported and called is refused when the YAML is read."""
    refused("must look like package.module:function", code={"estimator": estimator})


@pytest.mark.parametrize("checks", ["external", [], ()])
def test_checks_that_are_run_elsewhere(checks: object) -> None:
    """Written as a word or as no commands at all; read back it means the same."""
    product = make(code={"checks": checks})

    assert product.code.external
    assert ModelProduct.model_validate(product.model_dump(mode="json")) == product
    assert not make().code.external


@pytest.mark.parametrize("checks", ["pytest -q", "External", ""])
def test_one_command_is_a_list_too(checks: str) -> None:
    """The message shows both ways to write it."""
    refused("is no list: write .*, or external", code={"checks": checks})


@pytest.mark.parametrize("name", ["Bike", "bike-demand", "1bike", "", "b" * 42, "bike demand", "../bike"])
def test_names_are_safe_as_asset_keys_and_folders(name: str) -> None:
    """Lower case, digits, underscore, at most 41 characters."""
    refused("String should match pattern", name=name)


def test_the_longest_name() -> None:
    """41 characters are allowed."""
    assert make(name="b" * 41).name == "b" * 41


@pytest.mark.parametrize("keys", [{"exclude": ["target"]}, {"timestamp": "target"}])
def test_the_target_has_one_role(keys: dict[str, Any]) -> None:
    """A target that is excluded or the clock leaves nothing to learn."""
    refused("also listed in exclude or timestamp", data=keys)


@pytest.mark.parametrize(
    ("task", "metric"),
    [
        ("regression", "error_rate"),
        ("regression", "log_loss"),
        ("regression", "auc"),
        ("classification", "mae"),
        ("classification", "r2"),
    ],
)
def test_the_metric_fits_the_task(task: str, metric: str) -> None:
    """The message names both."""
    refused(f"'{metric}' is not a metric for {task}", data={"task": task}, monitoring={"metric": metric})


@pytest.mark.parametrize(
    ("task", "metric", "tolerance"),
    [
        ("regression", None, 0.10),
        ("classification", None, 0.02),
        ("classification", "log_loss", 0.10),
        ("classification", "error_rate", 0.02),
        ("classification", "auc", 0.02),
        ("regression", "r2", 0.10),
    ],
)
def test_the_default_tolerance(task: str, metric: str | None, tolerance: float) -> None:
    """Absolute for error rates and AUCs, relative otherwise."""
    assert make(data={"task": task}, monitoring={"metric": metric}).tolerance == tolerance


def test_a_written_tolerance_counts() -> None:
    """The YAML's own figure wins; zero would retrain for ever and is refused."""
    assert make(monitoring={"tolerance": 0.5}).tolerance == 0.5
    refused("greater than 0", monitoring={"tolerance": 0})


@pytest.mark.parametrize(
    ("written", "policy"),
    [
        ("never", Policy(on_degraded=False)),
        ("economy", Policy(false_alarms=0.01, growth=2.0, average=True, renew=True)),
        ("quality", Policy(every_batches=1, average=True)),
        ("every_batch", Policy(every_batches=1)),
        ({"on_degraded": False, "every_batches": 7}, Policy(on_degraded=False, every_batches=7)),
    ],
)
def test_policies_by_name_or_by_their_knobs(written: object, policy: Policy) -> None:
    """Each name stands for knobs that can also be written out."""
    assert make(training={"retrain": written}).training.policy == policy


@pytest.mark.parametrize("written", ["always", {"every_batches": 0}, {"every": 3}])
def test_policies_that_do_not_exist(written: object) -> None:
    """Names, ranges and knobs are checked."""
    with pytest.raises(ValidationError):
        make(training={"retrain": written})


@pytest.mark.parametrize(
    ("section", "keys"),
    [
        ("training", {"half_life": 0}),
        ("training", {"seed": -1}),
        ("delivery", {"mode": "yolo"}),
        ("delivery", {"latency_ms": 0}),
        ("monitoring", {"window": 19}),
        ("monitoring", {"min_labels": 9}),
        ("monitoring", {"max_attempts": 0}),
        ("monitoring", {"slo": {"error_rate": 1.5}}),
        ("data", {"task": "clustering"}),
    ],
)
def test_out_of_range(section: str, keys: dict[str, Any]) -> None:
    """Every literal and range is checked when the YAML is read, not when it is used."""
    with pytest.raises(ValidationError) as caught:
        make(**{section: keys})

    assert caught.value.errors()[0]["loc"][0] == section


def test_a_product_cannot_be_changed() -> None:
    """Sensors, assets and steps see one and the same product."""
    product = make()

    with pytest.raises(ValidationError, match="frozen"):
        product.name = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        product.monitoring.every = 1.0  # type: ignore[misc]


def test_a_product_survives_json() -> None:
    """The graph carries products as metadata: what comes back is equal."""
    product = make(training={"retrain": {"every_batches": 2}}, monitoring={"every": "5m"})

    assert ModelProduct.model_validate(product.model_dump(mode="json")) == product


def test_limits_and_categories() -> None:
    """Ends may be left open; categories are texts or whole numbers."""
    data = make(
        data={"limits": {"temp": [0, None], "hour": [0, 23]}, "categories": {"sky": ["a"], "season": [1, 2]}}
    ).data

    assert data.limits == {"temp": (0.0, None), "hour": (0.0, 23.0)}
    assert data.categories == {"sky": ("a",), "season": (1, 2)}
    assert (make().data.limits, make().data.categories) == ({}, {})


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (r"limits of 'temp': \[2.0, 1.0\] is not \[lowest, highest\]", {"limits": {"temp": [2, 1]}}),
        (r"limits of 'temp': \[None, None\]", {"limits": {"temp": [None, None]}}),
        (r"limits of 'temp': \[nan, 1.0\]", {"limits": {"temp": [float("nan"), 1]}}),
        ("limits.temp", {"limits": {"temp": [1]}}),
        ("limits.temp", {"limits": {"temp": 5}}),
        ("'target': it is target, timestamp or in exclude", {"limits": {"target": [0, 1]}}),
        ("'when': it is target, timestamp or in exclude", {"timestamp": "when", "limits": {"when": [0, 1]}}),
        ("'leak': it is target, timestamp or in exclude", {"exclude": ["leak"], "categories": {"leak": ["a"]}}),
        ("categories of 'sky': name at least one", {"categories": {"sky": []}}),
        ("categories of 'sky': .* none twice", {"categories": {"sky": ["a", "a"]}}),
        ("categories of 'sky': .* all of one kind", {"categories": {"sky": ["a", 1]}}),
        ("categories.sky", {"categories": {"sky": [True]}}),
        ("categories.sky", {"categories": {"sky": [1.5]}}),
        ("'temp' has limits and categories: choose one", {"limits": {"temp": [0, 1]}, "categories": {"temp": [0]}}),
    ],
)
def test_limits_and_categories_that_cannot_be(words: str, keys: dict[str, Any]) -> None:
    """Each is named, and what it would have to be."""
    refused(words, data=keys)


def test_a_key_names_columns_besides_the_target() -> None:
    """The timestamp and excluded ones too, as they are what labels come by."""
    data = {"timestamp": "time", "exclude": ["station"], "key": ["time", "station"]}

    assert make(data=data).data.key == ("time", "station")
    assert make().data.key == ()
    for key in (["target"], ["a", "a"]):
        refused("must name other columns than the target, none twice", data={"key": key})


def test_history_has_bounds() -> None:
    """A size, and an age where one is asked for."""
    monitoring = make(monitoring={"keep_gb": 20, "retention": "90d"}).monitoring

    assert (monitoring.keep_gb, monitoring.retention) == (20.0, 90 * 86400.0)
    assert (make().monitoring.keep_gb, make().monitoring.retention) == (1.0, None)
    for wrong in ({"keep_gb": 0}, {"retention": "0s"}):
        refused("greater than 0", monitoring=wrong)


def test_segments_are_features_named_once() -> None:
    """Three at most; neither target nor time, nor what is no feature."""
    assert make(monitoring={"segments": ["season"]}).monitoring.segments == ("season",)
    assert make(monitoring={"segments": "tree"}).monitoring.segments == "tree"
    refused("at most 3 items", monitoring={"segments": ["a", "b", "c", "d"]})
    refused("'tree'", monitoring={"segments": "season"})
    for wrong in (["y"], ["when"], ["leak"], ["a", "a"]):
        refused(
            "is target, timestamp, in exclude, or named twice",
            data={"target": "y", "timestamp": "when", "exclude": ["leak"]},
            monitoring={"segments": wrong},
        )
