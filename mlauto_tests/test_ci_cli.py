"""The words of `mlauto ci`."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from mlauto.ci_cli import ci
from mlauto.integration.outside import read_verdicts
from mlauto.settings import Settings
from mlauto.store import Store

SHA = "ab" * 20


@pytest.fixture
def bike(settings: Settings) -> Settings:
    """An installation with one product."""
    path = settings.defs / "bike" / "defs.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(
        "type: mlauto.ModelProduct\n"
        "attributes:\n"
        "  name: bike\n"
        "  code: {repository: models/bike, estimator: 'bike.model:build'}\n"
        "  data: {landing: landing/bike, target: target, task: regression}\n"
    )
    return settings


def test_every_option_arrives(bike: Settings, tmp_path: Path) -> None:
    """What is written on the command line is what is recorded."""
    junit = tmp_path / "junit.xml"
    junit.write_text('<t><testcase name="a"><error message="no"/></testcase></t>')
    words = ["report", "--commit", SHA, "--failed", "--product", "bike", "--command", "nightly", "--detail", "why"]
    words += ["--url", "https://ci.example/7", "--junit", str(junit)]

    done = CliRunner().invoke(ci, words, obj=bike, catch_exceptions=False)

    assert done.exit_code == 0
    assert done.output.startswith(f"bike: commit {SHA[:12]} is red (nightly)")
    found = read_verdicts(Store(bike.home), "bike", SHA)
    assert found is not None
    [verdict] = found.verdicts
    assert (verdict.command, verdict.detail, verdict.url) == ("nightly", "why", "https://ci.example/7")
    assert verdict.failures == ("a: no",)


@pytest.mark.parametrize("words", [["--commit", SHA], ["--passed"], ["--commit", SHA, "--passed", "extra"]])
def test_the_verdict_must_be_said(bike: Settings, words: list[str]) -> None:
    """Neither verdict nor commit has a default; nothing is recorded."""
    done = CliRunner().invoke(ci, ["report", *words], obj=bike)

    assert done.exit_code == 2
    assert read_verdicts(Store(bike.home), "bike", SHA) is None
