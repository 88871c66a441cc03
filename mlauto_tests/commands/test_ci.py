"""`mlauto ci report`: what is recorded, and what is refused because it would be a claim without ground."""

from pathlib import Path

import pytest

from mlauto.commands.ci import report_verdict
from mlauto.errors import ProductError, SourceError
from mlauto.integration.outside import OutsideVerdict, read_verdicts
from mlauto.settings import Settings
from mlauto.store import Store

SHA = "c0ffee" * 6 + "c0ff"
GREEN = '<testsuite><testcase classname="t" name="a"/></testsuite>'
RED = '<testsuite><testcase classname="t" name="a"><failure message="no"/></testcase></testsuite>'


def product(settings: Settings, name: str) -> None:
    """The YAML of a product."""
    path = settings.defs / name / "defs.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(
        "type: mlauto.ModelProduct\n"
        "attributes:\n"
        f"  name: {name}\n"
        f"  code: {{repository: models/{name}, estimator: 'bike.model:build', checks: external}}\n"
        f"  data: {{landing: landing/{name}, target: target, task: regression}}\n"
    )


@pytest.fixture(autouse=True)
def bike(settings: Settings) -> None:
    """The only product."""
    product(settings, "bike")


def only(settings: Settings, name: str = "bike") -> OutsideVerdict:
    """The one verdict on record."""
    found = read_verdicts(Store(settings.home), name, SHA)
    assert found is not None
    [verdict] = found.verdicts
    return verdict


def nothing(settings: Settings) -> bool:
    return read_verdicts(Store(settings.home), "bike", SHA) is None


def test_a_green_verdict(settings: Settings) -> None:
    """The only product is meant; the check is named after the page's host; who and when is on record."""
    text = report_verdict(settings, SHA.upper(), passed=True, url="https://ci.example:8443/job/7")

    verdict = only(settings)
    assert text.startswith(f"bike: commit {SHA[:12]} is green (ci.example)")
    assert (verdict.command, verdict.passed, verdict.url) == ("ci.example", True, "https://ci.example:8443/job/7")
    assert verdict.by
    assert verdict.at > 1.6e9


def test_a_red_verdict_names_what_is_red(settings: Settings) -> None:
    """A green one of another name leaves it red, and the reply says so."""
    report_verdict(settings, SHA, passed=False, command="pytest  -q", detail=" it broke ")
    assert only(settings).command == "pytest -q"
    assert only(settings).detail == "it broke"

    text = report_verdict(settings, SHA, passed=True)

    assert "is red (pytest -q)" in text


def test_a_junit_report_is_read(settings: Settings, tmp_path: Path) -> None:
    """How many tests, and which failed."""
    path = tmp_path / "junit.xml"
    path.write_text(GREEN)
    report_verdict(settings, SHA, passed=True, junit=path)
    assert (only(settings).tests, only(settings).failures) == (1, ())

    path.write_text(RED)
    report_verdict(settings, SHA, passed=False, junit=path)

    assert (only(settings).tests, only(settings).failures) == (1, ("t::a: no",))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (RED, "names failures"),
        ("<testsuite/>", "holds no test"),
        ("<", "no readable JUnit"),
        (None, "no readable JUnit"),
    ],
)
def test_passed_is_not_believed_against_the_tests(
    settings: Settings, tmp_path: Path, content: str | None, words: str
) -> None:
    """Nothing is recorded, so that the commit goes on waiting, and the CI's job fails."""
    path = tmp_path / "junit.xml"
    if content is not None:
        path.write_text(content)

    with pytest.raises(SourceError, match=words):
        report_verdict(settings, SHA, passed=True, junit=path)
    assert nothing(settings)


def test_a_red_verdict_needs_no_junit_report(settings: Settings, tmp_path: Path) -> None:
    """A job that died before its tests had begun has none, and is red all the same."""
    report_verdict(settings, SHA, passed=False, junit=tmp_path / "none.xml", detail="killed")

    assert not only(settings).passed
    assert only(settings).detail.startswith("killed\n")
    assert "no readable JUnit report" in only(settings).detail


def test_unknown_products(settings: Settings) -> None:
    """The known ones are listed; with several, one has to be named."""
    with pytest.raises(ProductError, match="known: bike"):
        report_verdict(settings, SHA, passed=True, product="bikes")
    product(settings, "tides")
    with pytest.raises(ProductError, match=r"--product is needed.*known: bike, tides"):
        report_verdict(settings, SHA, passed=True)

    report_verdict(settings, SHA, passed=True, product="tides")

    assert only(settings, "tides").passed
    assert nothing(settings)


@pytest.mark.parametrize("sha", [SHA[:7], "main", ""])
def test_a_short_sha_is_refused(settings: Settings, sha: str) -> None:
    """It names no commit for sure."""
    with pytest.raises(SourceError, match="git rev-parse HEAD"):
        report_verdict(settings, sha, passed=True)


@pytest.mark.parametrize("name", ["", "  ", "x" * 201, "red\x1b[31m"])
def test_names_that_are_none(settings: Settings, name: str) -> None:
    """They would be shown to people, and tell verdicts apart."""
    with pytest.raises(SourceError, match="--command must be a printable name"):
        report_verdict(settings, SHA, passed=True, command=name)
    assert nothing(settings)


def test_a_long_detail_is_cut(settings: Settings) -> None:
    """A whole log is not kept."""
    report_verdict(settings, SHA, passed=False, detail="x" * 100_000)

    assert len(only(settings).detail) == 4000
