"""Verdicts from outside, through the commit sensor and the real graph: before, during and after our own checks."""

import dagster as dg
import pytest

from mlauto.commands.ci import report_verdict
from mlauto.integration.tracking import has_report, read_report
from mlauto.orchestration.names import asset_key
from mlauto.orchestration.sensors import commits
from mlauto.records import Problem, VerifiedCommit
from mlauto_tests.orchestration.conftest import Origin, World, made_product

YAML = """
type: mlauto.ModelProduct
attributes:
  name: tides
  code: {repository: models/tides, estimator: "tide.model:build", checks: CHECKS}
  data: {landing: landing/tides, target: y, task: regression}
"""


@pytest.fixture
def external(world: World) -> World:
    """The product's checks are run elsewhere."""
    world.products = [made_product("tides", code={"checks": "external"})]
    return world


@pytest.fixture
def origin(world: World) -> Origin:
    """The product's repository; it has one commit, which would pass our own checks."""
    (world.settings.defs / "tides" / "defs.yaml").write_text(YAML.replace("CHECKS", "external"))
    return world.repository()


def tell(world: World, sha: str, *, passed: bool, command: str = "jenkins", url: str | None = None) -> None:
    """What a CI does when it is through."""
    report_verdict(world.settings, sha, passed=passed, command=command, url=url)


def verified(world: World) -> str | None:
    found = world.store.read_record("tides", "verified_commit", VerifiedCommit)
    return found.commit.sha if found else None


def event(world: World, asset: str = "ci_report") -> dg.AssetMaterialization:
    found = world.instance.get_latest_materialization_event(dg.AssetKey(["tides", asset]))
    assert found is not None
    assert found.asset_materialization is not None
    return found.asset_materialization


def test_an_external_commit_waits_for_its_verdict(external: World, origin: Origin) -> None:
    """No run is asked for, however often; the tick says what is awaited; then one run, and nothing more."""
    sha = origin.git("rev-parse", "HEAD")

    first, second = external.tick("commits"), external.tick("commits")
    tell(external, sha, passed=True, url="https://ci.example/job/7")
    [request] = external.loop("commits")

    assert not first.run_requests
    assert not second.run_requests
    assert f"tides: commit {sha[:12]} waits for its verdict" in str(second.skip_reason)
    assert request.partition_key == verified(external) == sha
    assert event(external).metadata["source"].value.startswith("outside, reported by ")
    assert event(external).metadata["url"].value == "https://ci.example/job/7"
    assert event(external).metadata["passed"].value is True
    assert not external.tick("commits").run_requests


def test_people_are_told_of_a_verdict_that_does_not_come(
    external: World, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an hour it is a problem that `mlauto status` shows; a next commit begins anew, a verdict ends it."""

    def problem() -> Problem | None:
        return external.store.read_record("tides", "problems/commits", Problem)

    external.tick("commits")
    fresh = problem()
    monkeypatch.setattr(commits, "PATIENCE", -1.0)
    external.tick("commits")
    told = problem()
    monkeypatch.undo()
    origin.commit("Next")
    external.tick("commits")
    begun_anew = problem()
    monkeypatch.setattr(commits, "PATIENCE", -1.0)
    tell(external, origin.git("rev-parse", "HEAD"), passed=False)
    external.loop("commits")

    assert fresh is None
    assert told is not None
    assert "waits for its verdict from outside (`mlauto ci report`)" in told.text
    assert begun_anew is None
    assert problem() is None


def test_a_verdict_that_comes_first_is_not_lost(external: World) -> None:
    """Reported before there is a mirror, and for the second commit before it is fetched."""
    (external.settings.defs / "tides" / "defs.yaml").write_text(YAML.replace("CHECKS", "external"))
    origin = external.repository()
    first = origin.git("rev-parse", "HEAD")
    tell(external, first, passed=True)
    external.loop("commits")
    origin.git("checkout", "-q", "-b", "side")
    second = origin.commit("On a side branch")
    tell(external, second, passed=True)
    quiet = external.tick("commits")
    origin.git("checkout", "-q", "main")
    origin.git("merge", "-q", "--ff-only", "side")

    [request] = external.loop("commits")

    assert not quiet.run_requests
    assert request.partition_key == verified(external) == second


def test_a_verdict_that_is_there_replaces_our_own_checks(world: World, origin: Origin) -> None:
    """A commit that our checks would call red is green, for they are not run."""
    sha = origin.commit("Break it", src__tide__broken_py="this is no Python")
    tell(world, sha, passed=True)

    world.loop("commits")

    report = read_report(world.store, "tides", sha)
    assert report is not None
    assert [result.command for result in report.results] == ["jenkins"]
    assert verified(world) == sha


def test_a_red_verdict_after_our_green_one_takes_the_commit_back(world: World, origin: Origin) -> None:
    """The older commit is verified again, and a green one under another name does not help."""
    good = origin.git("rev-parse", "HEAD")
    world.loop("commits")
    bad = origin.commit("Looks good here", src__tide__more_py="MORE = 1")
    world.loop("commits")
    before = verified(world)

    tell(world, bad, passed=False)
    world.loop("commits")
    withdrawn = verified(world)
    tell(world, bad, passed=True, command="travis")
    world.loop("commits")

    assert before == bad
    assert withdrawn == verified(world) == good
    tree = (event(world, "verified_commit").tags or {})["dagster/data_version"]
    assert tree == world.platform.mirror(world.product).commit(good).tree
    tell(world, bad, passed=True)
    world.loop("commits")
    assert verified(world) == bad


def test_the_only_commit_called_red_is_verified_no_more(world: World, origin: Origin) -> None:
    """Nothing is trained from it from then on."""
    world.loop("commits")

    tell(world, origin.git("rev-parse", "HEAD"), passed=False)
    world.loop("commits")

    assert verified(world) is None


def test_late_verdicts_on_older_commits_are_taken_up(external: World, origin: Origin) -> None:
    """Three commits are there before any verdict: each verdict makes one run, and branch order decides."""
    external.tick("commits")
    shas = [origin.git("rev-parse", "HEAD"), *origin.many(2)]
    external.tick("commits")

    tell(external, shas[1], passed=True)
    middle = external.loop("commits")
    tell(external, shas[0], passed=True)
    oldest = external.loop("commits")
    newest_green = verified(external)
    tell(external, shas[2], passed=False)
    tip = external.loop("commits")

    assert [request.partition_key for request in (*middle, *oldest, *tip)] == [shas[1], shas[0], shas[2]]
    assert newest_green == verified(external) == shas[1]
    assert not list(external.store.record_names("tides", "outside_new"))


def test_a_lost_run_is_asked_for_again(external: World, origin: Origin) -> None:
    """The verdict stays new until Dagster's log holds its report; then a contradicting one is new work."""
    sha = origin.git("rev-parse", "HEAD")
    tell(external, sha, passed=False)
    [first] = external.tick("commits").run_requests or ()
    external.lose(first)
    [second] = external.tick("commits").run_requests or ()
    assert not external.run(second).success
    settled = external.tick("commits")
    tell(external, sha, passed=True)

    [third] = external.loop("commits")

    assert [str(request.run_key).rpartition("#")[2] for request in (first, second, third)] == ["1", "2", "1"]
    assert not settled.run_requests
    assert verified(external) == sha


def test_a_report_that_dagster_never_saw_is_asked_for_again(world: World, origin: Origin) -> None:
    """The record was replaced and the run died before its event: the event of our own report does not count."""
    world.loop("commits")
    sha = origin.git("rev-parse", "HEAD")
    tell(world, sha, passed=True)
    from mlauto.orchestration import steps

    steps.report_commit(world.platform, world.product, sha, lambda line: None)

    [request] = world.loop("commits")

    assert request.partition_key == sha
    assert event(world).metadata["source"].value.startswith("outside")


def test_a_restarted_process_asks_for_nothing_twice(external: World, origin: Origin) -> None:
    """Without what a process remembers, and without a cursor, a verdict that was taken up stays taken up."""
    tell(external, origin.git("rev-parse", "HEAD"), passed=True)
    external.loop("commits")
    external.sensors.clear()
    external.served.clear()
    external.cursors.clear()

    assert not external.tick("commits").run_requests


def test_a_commit_that_is_not_on_the_branch_starts_nothing(external: World, origin: Origin) -> None:
    """Its verdict waits; the branch's own commits go on."""
    tell(external, "f" * 40, passed=True)
    tell(external, origin.git("rev-parse", "HEAD"), passed=True)

    asked = external.loop("commits")

    assert [request.partition_key for request in asked] == [verified(external)]
    assert list(external.store.record_names("tides", "outside_new")) == ["f" * 40]


def test_materialized_by_hand_an_external_commit_needs_its_verdict(external: World, origin: Origin) -> None:
    """The run fails with the command to run, and records no report."""
    sha = origin.git("rev-parse", "HEAD")
    external.platform.mirror(external.product).fetch()
    external.instance.add_dynamic_partitions("tides_commits", [sha])

    done = external.run(dg.RunRequest(asset_selection=[asset_key(external.product, "ci_report")], partition_key=sha))

    assert not done.success
    failures = [failed.event_specific_data for failed in done.all_events if failed.is_step_failure]
    assert f"mlauto ci report --product tides --commit {sha} --passed" in str(failures[0])
    assert not has_report(external.store, "tides", sha)
