"""The words of `mlauto predictions`."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mlauto.predictions_cli import predictions
from mlauto.settings import Settings
from mlauto_tests.monitoring.conftest import NOW, LogWriter


@pytest.fixture
def log(settings: Settings) -> LogWriter:
    """A product that answered twice and failed once."""
    log = LogWriter(settings.product_home("bike") / "predictions")
    log.predict(1.0, v="1", rows=[{"x": 7}])
    log.predict(2.0, v="2", t=NOW + 60, rows=[{"x": 8}])
    log.fail(v="2", t=NOW + 120)
    return log


def run(settings: Settings, *words: str) -> Result:
    return CliRunner().invoke(predictions, ["bike", *words], obj=settings, catch_exceptions=False)


@pytest.mark.usefixtures("log")
def test_every_option_arrives(settings: Settings, tmp_path: Path) -> None:
    """What is written on the command line is what is asked."""
    target = tmp_path / "bike.csv"
    words = ["--since", str(NOW + 30), "--until", str(NOW + 90), "--version", "2", "--answered", "--limit", "5"]
    done = run(settings, *words, "--columns", "version, x", "--to", str(target))

    assert done.output == f"{target}: 1 lines\n"
    assert target.read_text() == '"version","x"\n"2","8"\n'


@pytest.mark.usefixtures("log")
def test_counting(settings: Settings) -> None:
    """All, or failed ones only."""
    assert run(settings, "--count").output == "3 requests, 1 failed (33.333%)\n"
    assert run(settings, "--count", "--failed").output == "1 requests, 1 failed (100.000%)\n"


@pytest.mark.usefixtures("log")
def test_a_table_on_the_terminal(settings: Settings) -> None:
    """CSV, and nothing but it."""
    assert run(settings, "--version", "1", "--columns", "prediction").output == '"prediction"\n"1.0"\n'
