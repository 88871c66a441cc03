"""The timeline: steps as records, as text and as JSON."""

import io
import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from rich.console import Console

from mlauto.commands.timeline import Step, Timeline


def make(*, terminal: bool = False) -> tuple[Timeline, io.StringIO]:
    """A timeline that writes to memory, with a clock that is one second later at each look."""
    written = io.StringIO()
    ticks: Iterator[float] = (float(second) for second in count())
    console = Console(file=written, width=100, force_terminal=terminal, highlight=False)
    return Timeline("a demo", console=console, clock=lambda: next(ticks)), written


def test_a_step_keeps_what_was_observed() -> None:
    """Facts noted in the block become part of the frozen record."""
    timeline, _ = make()

    with timeline.step("A commit arrives") as step:
        step.saw("sha", "abc")
        step.saw("tests", 3)

    (kept,) = timeline.steps
    assert kept == Step(
        number=1, title="A commit arrives", status="done", seconds=kept.seconds, observed={"sha": "abc", "tests": 3}
    )
    assert kept.seconds > 0
    with pytest.raises(AttributeError):
        kept.status = "failed"  # type: ignore[misc]


def test_a_failing_step_is_recorded_and_the_error_goes_on() -> None:
    """The exception reaches the caller; the step says what the problem was and keeps the facts before it."""
    timeline, written = make()

    def land() -> None:
        with timeline.step("A file lands") as step:
            step.saw("rows", 10)
            raise ValueError("no model")

    with pytest.raises(ValueError, match="no model"):
        land()

    assert timeline.steps[0].status == "failed"
    assert timeline.steps[0].observed == {"rows": 10, "problem": "no model"}
    assert not timeline.passed
    assert "no model" in written.getvalue()


def test_an_error_without_words_is_named_by_its_class() -> None:
    """Ctrl-C during a step leaves a readable fact."""
    timeline, _ = make()

    with pytest.raises(KeyboardInterrupt), timeline.step("waiting"):
        raise KeyboardInterrupt

    assert timeline.steps[0].observed == {"problem": "KeyboardInterrupt"}


def test_a_step_that_passes_inside_an_error_handler_has_no_problem() -> None:
    """An exception that is being handled around a step is not the step's."""
    timeline, _ = make()

    try:
        _ = {}["elsewhere"]
    except KeyError:
        with timeline.step("clean up") as step:
            step.saw("stopped", True)

    assert timeline.passed
    assert timeline.steps[0].observed == {"stopped": True}


def test_no_steps_is_not_a_pass() -> None:
    """Nothing observed is not success."""
    timeline, written = make()

    timeline.finish({})

    assert not timeline.passed
    assert "not every step was observed" in written.getvalue()


def test_plain_output_has_no_escape_codes_and_keeps_brackets() -> None:
    """Away from a terminal there is text only, and titles or values are never read as markup."""
    timeline, written = make()

    with timeline.step("columns [a] and [/b]") as step:
        step.waiting("for [x]")
        step.progress(1, 2, "[bold]")
        step.saw("range", "[0, 1]")
    timeline.finish({"failed requests": 0})

    text = written.getvalue()
    assert "\x1b" not in text
    assert "1. columns [a] and [/b] ..." in text
    assert "[0, 1]" in text
    assert "every step was observed" in text
    assert "failed requests" in text


def test_a_terminal_gets_a_spinner_and_a_bar() -> None:
    """While a step runs on a terminal its progress is drawn; what remains is the step's own line."""
    timeline, written = make(terminal=True)

    with timeline.step("rows [x]") as step:
        step.waiting("the gateway")
        step.progress(3, 5, "sent")

    text = written.getvalue()
    assert "3/5" in text
    assert "✔" in text
    assert "rows [x]" in text


def test_numbers_are_shown_for_people_and_kept_exact_in_json(tmp_path: Path) -> None:
    """Four digits on the screen, everything in the file."""
    timeline, written = make()

    with timeline.step("measure") as step:
        step.saw("mae", 0.123456789)
        step.saw("rows", 123456.7)
        step.saw("versions", [1, 2])
        step.saw("where", Path("/tmp/x"))
    timeline.finish({"seconds": 9.5})
    timeline.write_json(tmp_path / "deep" / "demo.json")

    assert "0.1235" in written.getvalue()
    assert "123,457" in written.getvalue()
    assert "1, 2" in written.getvalue()
    kept = json.loads((tmp_path / "deep" / "demo.json").read_text())
    assert kept["title"] == "a demo"
    assert kept["passed"] is True
    assert kept["summary"] == {"seconds": 9.5}
    assert kept["steps"][0]["observed"] == {"mae": 0.123456789, "rows": 123456.7, "versions": [1, 2], "where": "/tmp/x"}


def test_steps_are_numbered_in_order() -> None:
    """The third step is number 3, also after a failed one."""
    timeline, _ = make()

    with timeline.step("one"):
        pass
    with pytest.raises(RuntimeError), timeline.step("two"):
        raise RuntimeError("broken")
    with timeline.step("three"):
        pass

    assert [(step.number, step.title, step.status) for step in timeline.steps] == [
        (1, "one", "done"),
        (2, "two", "failed"),
        (3, "three", "done"),
    ]
