"""What people read in the UI stays what it is, whatever strings teams, users and data bring along."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from mlauto.measured import LabelDelay, LiveMetrics
from mlauto.orchestration import render
from mlauto.records import (
    Action,
    Batch,
    BatchWeight,
    CheckOutcome,
    CheckResult,
    CiReport,
    Commit,
    ExpectationFailure,
    Image,
    Score,
    SourceFile,
    Status,
    TrainingSet,
    Validation,
    Verdict,
)
from mlauto.store import Store
from mlauto_tests.orchestration.conftest import World

HOSTILE = [
    "a | b || c",
    "back\\|slash \\",
    "<script>alert(1)</script>",
    "![x](http://evil.example/x.png) [y](javascript:alert(1))",
    "line\none\r\ntwo\u2028three",
    "```\nfence\n````",
    "**bold** _under_ ~~gone~~ `code`",
    "&lt;b&gt; &amp;",
    "ünïcödé 名 \x00\x1b[31m",
    "",
    "x" * 5000,
]
ALLOWED = {"table", "thead", "tbody", "tr", "th", "td", "inline", "text", "paragraph", "softbreak"}

each_hostile = pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))


def tokens(value: object) -> list[Token]:
    """The Markdown of a metadata value, as the UI's kind of parser sees it."""
    assert isinstance(value, dg.MarkdownMetadataValue)
    return list(flat(MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(value.value)))


def flat(found: list[Token]) -> Iterator[Token]:
    for token in found:
        yield token
        yield from flat(token.children or [])


def kinds(value: object) -> set[str]:
    return {token.type.removesuffix("_open").removesuffix("_close") for token in tokens(value)}


def assert_plain(value: object, columns: int, rows: int) -> None:
    """The value is one table of that shape with nothing but text in it."""
    assert kinds(value) <= ALLOWED
    counted = [token.type for token in tokens(value)]
    assert counted.count("td_open") == columns * rows
    assert counted.count("th_open") == columns


def assert_storable(metadata: Mapping[str, Any]) -> None:
    """Dagster takes all of it, and what it stores is strict JSON."""
    taken = dg.AssetMaterialization("a", metadata=dict(metadata)).metadata
    for value in taken.values():
        json.dumps(value.value if not isinstance(value, dg.JsonMetadataValue) else value.data, allow_nan=False)


@each_hostile
def test_a_table_holds_its_shape(text: str) -> None:
    """Two rows of two cells stay that, and no cell is more than text."""
    shown = render.table(("one", "two"), [(text, 1.23456), (2, text)])

    assert_plain(shown, columns=2, rows=2)


def test_a_table_shows_what_was_meant() -> None:
    """Escapes are for the parser: people read the text as it is."""
    text = "a|b \\ [c](d) <e> &lt; *f* `g`"

    [cell] = [
        token for token in tokens(render.table(("x",), [(text,)])) if token.type == "text" and "a" in token.content
    ]
    shown = "".join(token.content for token in tokens(render.table(("x",), [(text,)])) if token.type.startswith("text"))

    assert cell.content.startswith("a|b")
    assert shown == f"x{text}"


def test_a_long_table_is_cut_and_says_so() -> None:
    """Twenty rows, and how many more there are."""
    shown = render.table(("n",), [(number,) for number in range(23)])

    assert [token.type for token in tokens(shown)].count("td_open") == 20
    assert "3 more" in str(shown.value)


@pytest.mark.parametrize(
    ("value", "kind", "shown"),
    [
        (True, dg.BoolMetadataValue, True),
        (3, dg.IntMetadataValue, 3),
        (2.5, dg.FloatMetadataValue, 2.5),
        (math.nan, dg.TextMetadataValue, "nan"),
        (-math.inf, dg.TextMetadataValue, "-inf"),
        (np.float64(0.5), dg.FloatMetadataValue, 0.5),
        ("text", dg.TextMetadataValue, "text"),
        (None, dg.TextMetadataValue, "null"),
        ({"a": [1, None]}, dg.TextMetadataValue, '{"a": [1, null]}'),
        (Path("x"), dg.TextMetadataValue, '"x"'),
    ],
)
def test_details_are_of_the_kind_that_they_are(value: object, kind: type, shown: object) -> None:
    """Numbers are drawn over time; what the UI's protocol cannot carry is text."""
    outcome = CheckOutcome(name="valid", passed=True, summary="fine", details={"it": value})

    found = render.details(outcome)["it"]

    assert isinstance(found, kind)
    assert found.value == shown


@each_hostile
def test_checks_take_any_text(text: str) -> None:
    """Summary, names and values of details."""
    result = render.check(CheckOutcome(name="parity", passed=False, summary=text, details={text: text, "n": math.inf}))

    assert (result.check_name, result.passed, result.description) == ("parity", False, text)
    assert result.severity is dg.AssetCheckSeverity.ERROR
    assert_storable(result.metadata)


def test_drift_only_warns() -> None:
    """Any other check is an error when it fails, unless the caller says otherwise."""
    drift = CheckOutcome(name="drift", passed=False, summary="moved")

    assert render.check(drift).severity is dg.AssetCheckSeverity.WARN
    assert render.check(drift, severity=dg.AssetCheckSeverity.ERROR).severity is dg.AssetCheckSeverity.ERROR


def report(text: str) -> CiReport:
    commit = Commit(sha="a" * 40, tree="b" * 64, subject=text, author=text, time=1.0)
    lint = CheckResult(kind="lint", command=f"ruff {text}", passed=True, seconds=0.1, output=text)
    tests = CheckResult(
        kind="tests", command=text, passed=False, seconds=2.0, output=text, tests=3, failures=(text, "test_b")
    )
    return CiReport(commit=commit, results=(lint, tests))


@each_hostile
def test_a_report_shows_commands_and_failures(text: str) -> None:
    """A red one has two tables and its commit; a check has the output as one block of code and nothing else."""
    shown = render.ci_report(report(text))
    check = render.ci_check(report(text), "tests")

    assert_plain(shown["results"], columns=4, rows=2)
    assert_plain(shown["failures"], columns=2, rows=2)
    assert shown["passed"].value is False
    assert shown["subject"].value == text
    assert_storable(shown)
    assert (check.passed, check.description) == (False, f"{text} failed")
    assert check.metadata["tests"] == dg.MetadataValue.int(3)
    assert kinds(check.metadata["output"]) == {"fence"}
    assert_storable(check.metadata)


def test_a_green_kind_says_how_many_commands_passed() -> None:
    """And a kind without commands passes."""
    lint = render.ci_check(report("x"), "lint")
    none = render.ci_check(replace(report("x"), results=()), "tests")

    assert (lint.passed, lint.description) == (True, "1 commands passed")
    assert (none.passed, none.description) == (True, "0 commands passed")
    assert "failures" not in render.ci_report(replace(report("x"), results=report("x").results[:1]))


def arrival(text: str) -> Batch:
    failure = ExpectationFailure(
        expectation="expect_x", column=text, observed=text, expected=text, examples=(text, text)
    )
    nameless = replace(failure, column=None)
    return Batch(
        key="k",
        files=(SourceFile(name=text, digest="d" * 64, size=3),),
        rows=7,
        digest=None,
        validation=Validation(passed=False, evaluated=9, failures=(failure, nameless)),
        arrived=1.0,
    )


@each_hostile
def test_a_rejected_batch_shows_its_files_and_what_failed(text: str) -> None:
    """Both in the metadata of the asset and in the check."""
    shown = render.batch(arrival(text))
    check = render.expectations(arrival(text))

    assert_plain(shown["files"], columns=3, rows=1)
    assert_plain(shown["failed_expectations"], columns=5, rows=2)
    assert (shown["dagster/row_count"].value, shown["accepted"].value) == (7, False)
    assert_plain(check.metadata["failed_expectations"], columns=5, rows=2)
    assert check.description is not None
    assert check.description.startswith("failed: expect_x(")
    assert_storable(shown)
    assert_storable(check.metadata)


def test_expectations_say_why_a_file_could_not_be_read_and_when_all_hold() -> None:
    """A problem comes before counts."""
    unread = replace(arrival("x"), validation=Validation(passed=False, evaluated=0, problem="it is no CSV"))
    good = replace(arrival("x"), digest="d" * 64, validation=Validation(passed=True, evaluated=9))

    assert render.expectations(unread).description == "it is no CSV"
    assert render.expectations(good).description == "9 expectations hold"
    assert render.expectations(good).passed
    assert "failed_expectations" not in render.batch(good)


def test_a_training_set_shows_its_newest_batches_first() -> None:
    """Rows, number of batches, digest, weights."""
    batches = tuple(BatchWeight(key=f"k{n}", digest="d", rows=10, weight=0.5**n) for n in range(30))

    shown = render.training_set(TrainingSet(batches=batches, digest="e" * 64))

    assert (shown["dagster/row_count"].value, shown["batches"].value) == (300, 30)
    assert_plain(shown["weights"], columns=3, rows=20)
    assert str(shown["weights"].value).splitlines()[2].startswith("| k29 ")
    assert_storable(shown)


@each_hostile
def test_an_image_says_where_it_is(text: str, store: Store) -> None:
    """Kind, digest, reference and version; and where its bill of materials is, if it has one."""
    built = Image(kind="bundle", digest="d" * 64, reference=text, version="2", key="k")
    shown = render.image(built, store)
    listed = render.image(replace(built, sbom="b" * 64), store)

    assert listed["sbom"].value == str(store.object_path("b" * 64))

    assert {name: value.value for name, value in shown.items()} == {
        "kind": "bundle",
        "digest": "d" * 64,
        "reference": text,
        "version": "2",
    }
    assert_storable(shown)


def test_live_metrics_are_numbers_where_there_are_any() -> None:
    """What was not measured is left out; what is not finite is text."""
    verdict = Verdict(status=Status.UNKNOWN, action=Action.ALERT, cause="| no | data |", checks=())
    nothing = LiveMetrics(
        version=None, measured=1.0, requests=0, errors=0, p50_ms=None, p99_ms=None, labelled=0, quality=None
    )
    score = Score(metric="log_loss", value=math.inf, low=0.1, high=math.inf, rows=10)

    empty = render.live_metrics(nothing, verdict)
    delay = LabelDelay(median=60.0, p90=90.5, labels=4)
    measured = replace(nothing, version="2", p50_ms=1.5, p99_ms=2.5, quality=score, label_delay=delay, waiting=7)
    full = render.live_metrics(measured, verdict)

    assert {name: value.value for name, value in empty.items()} == {
        "verdict": "unknown",
        "action": "alert",
        "cause": "| no | data |",
        "kind": "none",
        "version": "none",
        "requests": 0,
        "errors": 0,
        "labelled": 0,
        "waiting_for_labels": 0,
    }
    assert (full["p50_ms"].value, full["p99_ms"].value, full["log_loss"].value) == (1.5, 2.5, "inf")
    late = ("label_delay_s", "label_delay_p90_s", "waiting_for_labels")
    assert [full[name].value for name in late] == [60.0, 90.5, 7]
    assert_storable(full)


def test_a_batch_says_what_waits_and_what_is_strange() -> None:
    """On the asset and on its check; a batch with nothing of the kind has no such entry."""
    plain = Batch(
        key="b",
        files=(SourceFile(name="f.csv", digest="d", size=3),),
        rows=7,
        digest="d",
        validation=Validation(passed=True, evaluated=4),
        arrived=2.0,
    )
    strange = replace(plain, unlabelled=5, warnings=("5 of 12 rows | wait", "time goes back"))

    shown = render.batch(strange)

    assert shown["waiting_for_labels"].value == 5
    assert_plain(shown["warnings"], columns=1, rows=2)
    assert render.expectations(strange).description == "4 expectations hold; 5 of 12 rows | wait; time goes back"
    assert not {"waiting_for_labels", "warnings"} & render.batch(plain).keys()
    assert_storable(shown)


@pytest.mark.parametrize(
    "importances",
    [
        [{"feature": "x | y", "mean": 0.5, "low": 0.1}, {"feature": "hour", "mean": 0.1, "low": 0.0}],
        [["x | y", 0.5, 0.1], ["hour", 0.1, 0.0]],
        {"x | y": 0.5, "hour": 0.1},
    ],
)
def test_a_model_shows_scores_importances_plot_and_card(released: World, importances: object) -> None:
    """From the artifact that training wrote; the plot is inline, the run is a link."""
    model = released.model()
    folder = released.store.tree_path(model.artifact)
    evaluation = json.loads((folder / "evaluation.json").read_text())
    (folder / "evaluation.json").write_text(json.dumps({**evaluation, "importances": importances}))

    shown = render.model(replace(model, reason="because | of"), released.platform)

    assert_plain(shown["scores"], columns=5, rows=len(model.scores))
    assert_plain(shown["importances"], columns=2, rows=2)
    assert str(shown["plot"].value).startswith("![plot](data:image/png;base64,iVBOR")
    assert shown["mae"].value == model.reference.value
    assert shown["reason"].value == "because | of"
    assert isinstance(shown["mlflow_run"], dg.UrlMetadataValue)
    assert "tides" in str(shown["model_card"].value)
    assert_storable(shown)


def test_a_real_models_importances_are_those_of_its_columns(released: World) -> None:
    """As training writes them: one row for each column."""
    shown = render.model(released.model(), released.platform)

    assert_plain(shown["importances"], columns=2, rows=2)
    assert {"x", "hour"} <= {token.content for token in tokens(shown["importances"])}
