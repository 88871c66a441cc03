"""The report of a replay: figures, a plot, and no way for a name to break the page."""

import io
from pathlib import Path

from rich.console import Console

from mlauto.commands.replay_report import BatchResult, ReplayResult, print_result, write_report


def _result() -> ReplayResult:
    batches = tuple(
        BatchResult(number=n, rows=10, loss=float(n), version="1" if n < 8 else "2", seconds=1.0) for n in (6, 7, 8)
    )
    return ReplayResult(
        file="<script>.csv",
        metric="error_rate",
        prequential=0.25,
        trainings=2,
        renewals=3,
        rollouts=2,
        requests=30,
        failed_requests=0,
        quarantined=1,
        seconds=61.0,
        batches=batches,
    )


def test_the_report_is_one_page_with_figures_and_a_plot(tmp_path: Path) -> None:
    """Everything is in the one file, and what came from outside is escaped."""
    path = tmp_path / "report.html"

    write_report(path, _result())

    page = path.read_text()
    assert "data:image/png;base64," in page
    assert "&lt;script&gt;.csv" in page
    assert "<script>" not in page
    assert "<td>8</td><td>10</td><td>8</td><td>2</td>" in page


def test_the_figures_are_printed_with_the_way_to_the_report(tmp_path: Path) -> None:
    """A person reads the loss, over which batches, and what went wrong."""
    output = io.StringIO()

    print_result(Console(file=output, width=100), _result(), tmp_path / "report.html")

    text = output.getvalue()
    assert "prequential error rate" in text
    assert "0.25 (batches 6 to 8)" in text
    assert "averaged anew, without a training  3" in text
    assert "failed requests" in text
    assert "report.html" in text
