"""Who gives the verdict on a commit, and how Dagster shows where it came from."""

from collections.abc import Callable
from dataclasses import replace

import dagster as dg
import pytest

from mlauto.errors import ProductError
from mlauto.integration.outside import OutsideVerdict, OutsideVerdicts, add_verdict, outside_report
from mlauto.integration.tracking import read_report
from mlauto.orchestration.reports import current, origin, piece, report_on, shows
from mlauto.records import CheckResult, CiReport, Commit
from mlauto_tests.orchestration.conftest import World, made_product

COMMIT = Commit(sha="a" * 40, tree="t", subject="s", author="Ada", time=1.0)
OWN = CiReport(commit=COMMIT, results=(CheckResult(kind="tests", command="c", passed=True, seconds=1, output=""),))


def said(*verdicts: OutsideVerdict) -> OutsideVerdicts:
    return OutsideVerdicts(sha=COMMIT.sha, verdicts=verdicts)


def verdict(command: str = "jenkins", *, passed: bool = True, url: str | None = None) -> OutsideVerdict:
    return OutsideVerdict(command=command, passed=passed, at=1.0, by="ci", url=url)


def fetched(world: World) -> str:
    """A repository with one commit, mirrored; the SHA."""
    repository = world.repository()
    world.platform.mirror(world.product).fetch()
    return repository.git("rev-parse", "HEAD")


def when(word: str, act: Callable[[], object]) -> Callable[[str], None]:
    """A log that does something at the first line with that word."""
    lines: list[str] = []

    def log(line: str) -> None:
        if word in line and not lines:
            lines.append(line)
            act()

    return log


def test_our_own_checks_where_nobody_reported(world: World) -> None:
    """The report says that it is ours, and is kept."""
    sha = fetched(world)

    report = report_on(world.platform, world.product, sha, lambda line: None)

    assert (report.source, report.passed) == ("mlauto", True)
    assert report == read_report(world.store, "tides", sha)


def test_a_verdict_that_comes_while_our_checks_run_counts(world: World) -> None:
    """Ours would be green; the red one from outside is the report."""
    sha = fetched(world)
    log = when("$ ", lambda: add_verdict(world.store, "tides", sha, verdict(passed=False)))

    report = report_on(world.platform, world.product, sha, log)

    assert not report.passed
    assert report.source == "outside, reported by ci"
    assert report == read_report(world.store, "tides", sha)


def test_a_verdict_that_comes_afterwards_counts(world: World) -> None:
    """The report is made again, also without the mirror's help, and stays when nothing more is said."""
    sha = fetched(world)
    report_on(world.platform, world.product, sha, lambda line: None)
    add_verdict(world.store, "tides", sha, verdict(passed=False))

    report = report_on(world.platform, world.product, sha, lambda line: None)
    world.store.record_path("tides", f"outside/{sha}").unlink()
    silence = report_on(world.platform, world.product, sha, lambda line: None)

    assert not report.passed
    assert silence == report


def test_where_verdicts_are_external_nothing_is_tested(world: World) -> None:
    """Both ways to write it; the sentence holds the command to run."""
    sha = fetched(world)
    for checks in ("external", []):
        product = made_product("tides", code={"checks": checks})

        with pytest.raises(ProductError, match=f"mlauto ci report --product tides --commit {sha} --passed"):
            report_on(world.platform, product, sha, lambda line: None)
    assert read_report(world.store, "tides", sha) is None


def test_what_is_current() -> None:
    """Any report where nothing was said; otherwise what was said, and nothing else."""
    green, red = said(verdict()), said(verdict(passed=False))

    assert current(OWN, None)
    assert not current(OWN, green)
    assert current(outside_report(COMMIT, green), green)
    assert not current(outside_report(COMMIT, green), red)


def test_pieces_of_work() -> None:
    """A commit is one; so is each thing that is said of it."""
    names = {piece("a", None), piece("a", said(verdict())), piece("a", said(verdict(passed=False)))}

    assert len(names) == 3
    assert piece("a", None) == "a"
    assert piece("a", said(verdict())) == piece("a", said(verdict()))


def test_the_origin_is_shown() -> None:
    """The page of the failed check is the link; several pages are a table; ours has neither."""
    pages = said(verdict("a", url="https://ci.example/1"), verdict("b", passed=False, url="https://ci.example/2"))

    shown = origin(outside_report(COMMIT, pages))

    assert shown["source"].value == "outside, reported by ci"
    assert shown["url"] == dg.MetadataValue.url("https://ci.example/2")
    assert "https://ci.example/1" in str(shown["urls"].value)
    assert origin(OWN)["source"].value == "mlauto"
    assert {"url", "urls"} & set(origin(OWN)) == set()


def test_an_event_shows_one_report_only() -> None:
    """That of another report does not count, nor one without any."""
    event = dg.AssetMaterialization("r", metadata=origin(OWN))

    assert shows(event, OWN)
    assert not shows(event, replace(OWN, source="outside"))
    assert not shows(dg.AssetMaterialization("r"), OWN)
    assert not shows(None, OWN)
