"""What a backtest prints, draws and writes."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from mlauto.commands.backtest_report import (
    Report,
    Row,
    draw_pareto,
    front,
    print_report,
    publish,
    wide_console,
    write_report,
)
from mlauto.commands.history import Plan
from mlauto.training.backtest.walk import Outcome, Step
from mlauto.training.weighting import History


def row(name: str, loss: float, trainings: int, metric: str = "error_rate") -> Row:
    step = Step(number=5, rows=10, loss=loss, model=0, status="healthy", trained=True, reason="because")
    outcome = Outcome(
        loss=loss, trainings=trainings, seconds=1.25, renewals=3, promotions=4, regretted=1, steps=(step,)
    )
    return Row.of(name, outcome, 0.2, metric)


def report(metric: str = "error_rate", delay: int = 0) -> Report:
    rows = [row("never", 0.3, 0, metric), row("economy", 0.25, 5, metric), row("every_batch", 0.22, 45, metric)]
    histories = (row("all history", 0.24, 45, metric), row("half-life 2", 0.2, 45, metric))
    return Report(
        file="elec.csv",
        model="hgb",
        metric=metric,
        batches=50,
        initial=5,
        delay=delay,
        best="half-life 2",
        policies=tuple(rows),
        histories=histories,
    )


def printed(one: Report) -> list[str]:
    console = Console(width=120)
    with console.capture() as capture:
        print_report(console, one)
    return capture.get().splitlines()


def test_a_pipe_is_wide() -> None:
    """It has no width of its own; pytest's capture is one."""
    assert wide_console().width >= 120


def test_the_table_is_whole() -> None:
    """A line for each policy, best first, and then the best history; nothing is wrapped or cut."""
    title, head, *rows = printed(report())

    assert title.strip() == "elec.csv, hgb: batches 6 to 50, labels at once"
    assert head.split()[:5] == ["policy", "error", "rate", "gap,", "pp"]
    assert [line.split()[0] for line in rows] == ["every_batch", "economy", "never", "hindsight:"]
    assert rows[1].split() == ["economy", "25.00%", "+5.00", "5", "3", "1.2", "0", "1", "of", "4", "0", "0"]
    assert rows[3].split()[:5] == ["hindsight:", "half-life", "2", "20.00%", "+0.00"]


def test_errors_have_their_own_unit() -> None:
    """The gap is then a share of the best history's."""
    title, head, *rows = printed(report("mae", delay=5))

    assert title.strip().endswith("labels 5 batches late")
    assert head.split()[1:4] == ["mae", "gap,", "%"]
    assert rows[2].split()[:3] == ["never", "0.3", "+50.00"]


def test_the_front_is_what_nobody_beats() -> None:
    """More trainings must buy something."""
    rows = [row("a", 0.3, 0), row("b", 0.25, 5), row("c", 0.26, 10), row("d", 0.25, 10), row("e", 0.2, 45)]

    assert [one.name for one in front(rows)] == ["a", "b", "e"]


def test_the_picture_is_the_same_each_time(tmp_path: Path) -> None:
    """Well-formed, with every policy by name, and without the hour."""
    for name in ("one.svg", "two.svg"):
        draw_pareto(tmp_path / name, report())
    content = (tmp_path / "one.svg").read_bytes()
    text = " ".join(ElementTree.fromstring(content).itertext())

    assert content == (tmp_path / "two.svg").read_bytes()
    assert all(name in text for name in ("never", "economy", "every_batch", "trainings", "fixed histories"))


def test_the_json_has_every_decision(tmp_path: Path) -> None:
    """Settings, figures, and each step with its reason."""
    write_report(tmp_path / "found.json", report())
    found = json.loads((tmp_path / "found.json").read_text())

    assert (found["best"], found["delay"]) == ("half-life 2", 0)
    economy = found["policies"][1]
    assert (economy["name"], round(economy["gap"], 6)) == ("economy", 0.05)
    assert economy["outcome"]["steps"][0]["reason"] == "because"


@pytest.mark.parametrize(("measure", "loss", "gap"), [(None, 9.0, 1.25), ("rmse", 3.0, 0.5)])
def test_a_report_is_in_the_metrics_own_unit(measure: str | None, loss: float, gap: float) -> None:
    """Mean squared errors are shown as roots, and the gap is one of roots; the best history is found by the way."""
    plan = Plan(target="y", task="regression", batches=8, initial=2, measure=measure)
    played = {"economy": row("economy", 9.0, 3).outcome}
    fixed = {History(): row("", 16.0, 6).outcome, History(window=5): row("", 4.0, 6).outcome}

    made = Report.of(played, fixed, plan, file="tides", model="tide.model:build at 12345678", own="economy")

    [economy] = made.policies
    assert (economy.outcome.loss, economy.gap) == (loss, gap)
    assert economy.outcome.steps[0].loss == loss
    assert made.best == made.hindsight.name == "last 5 batches"
    assert made.metric == (measure or "mae")


def test_the_products_own_policy_is_marked(tmp_path: Path) -> None:
    """In the table; in the JSON it is named beside the rows, which keep their names."""
    console = Console(width=120)
    with console.capture() as capture:
        publish(replace(report(), own="economy"), tmp_path / "found.json", tmp_path / "found.svg", console)
    written = json.loads((tmp_path / "found.json").read_text())

    assert "economy (the product's)" in capture.get()
    assert "never (the product's)" not in capture.get()
    assert written["own"] == "economy"
    assert "economy" in [one["name"] for one in written["policies"]]
    assert (tmp_path / "found.svg").stat().st_size > 1000
