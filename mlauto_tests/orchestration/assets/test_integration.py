"""The assets of continuous integration, materialized as a person would in the UI."""

import dagster as dg
import pytest

from mlauto.orchestration.assets.integration import commit_spec, integration_assets
from mlauto.product import ModelProduct
from mlauto_tests.orchestration.conftest import World, made_product

REPORT = dg.AssetKey(["tides", "ci_report"])
VERIFIED = dg.AssetKey(["tides", "verified_commit"])


def ran(world: World, sha: str, *keys: dg.AssetKey) -> dg.ExecuteInProcessResult:
    """Both assets (or those named) for one commit."""
    world.platform.mirror(world.product).fetch()
    world.instance.add_dynamic_partitions("tides_commits", [sha])
    return world.run(dg.RunRequest(asset_selection=list(keys or (REPORT, VERIFIED)), partition_key=sha))


def test_the_commit_says_where_it_comes_from() -> None:
    """An external asset that carries the whole product, so that a code location can be read back."""
    product = made_product("tides")

    spec = commit_spec(product)

    assert spec.key == dg.AssetKey(["tides", "commit"])
    assert spec.description == "Commits of models/tides (main), one partition each."
    assert ModelProduct.model_validate(spec.metadata["product"].value) == product


def test_a_green_commit_is_reported_and_verified(world: World) -> None:
    """Two checks passed, metadata for people, data versions that follow the content."""
    sha = world.repository().git("rev-parse", "HEAD")

    done = ran(world, sha)

    assert done.success
    report, verified = (
        done.asset_materializations_for_node(f"tides__{name}")[0] for name in ("ci_report", "verified_commit")
    )
    assert [(check.check_name, check.passed) for check in done.get_asset_check_evaluations()] == [
        ("lint", True),
        ("tests", True),
    ]
    assert report.partition == sha
    assert (report.tags or {})["dagster/data_version"] == sha
    assert report.metadata["subject"].value == "The first model"
    assert verified.metadata["commit"].value == sha
    assert len((verified.tags or {})["dagster/data_version"]) == 64


def test_a_red_commit_ends_its_run_at_the_report(world: World) -> None:
    """The failed check blocks: the verified commit is not touched, and the output says why."""
    origin = world.repository()
    sha = origin.commit("Break it", src__tide__broken_py="this is no Python")

    done = ran(world, sha)

    assert not done.success
    [lint, tests] = done.get_asset_check_evaluations()
    assert (lint.passed, tests.passed, tests.blocking) == (True, False, True)
    assert tests.description == "python -m compileall -q . failed"
    assert "SyntaxError" in str(tests.metadata["output"].value)
    assert done.asset_materializations_for_node("tides__ci_report")[0].metadata["passed"].value is False
    assert world.instance.get_latest_materialization_event(VERIFIED) is None


def test_a_check_of_one_commit_does_not_hide_another(world: World) -> None:
    """Checks are partitioned like the commits that they are about."""
    origin = world.repository()
    shas = [origin.git("rev-parse", "HEAD"), origin.commit("Break it", src__tide__broken_py="no Python")]

    ended = [ran(world, sha, REPORT).success for sha in shas]

    history = world.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(REPORT, "tests"), limit=10
    )
    assert ended == [True, False]
    assert {record.partition for record in history} == set(shas)


def test_documentation_changes_no_data_version(world: World) -> None:
    """What depends on the verified commit sees the same version when only words changed."""
    origin = world.repository()
    versions = []
    for files in ({}, {"README_md": "words"}, {"src__tide__more_py": "MORE = 1"}):
        sha = origin.commit("Change", **files)
        done = ran(world, sha)
        [event] = done.asset_materializations_for_node("tides__verified_commit")
        versions.append((event.tags or {})["dagster/data_version"])

    assert versions[0] == versions[1] != versions[2]


@pytest.mark.filterwarnings("ignore:Specifying a partitions_def")  # which the graph asks for, knowingly
def test_the_assets_of_integration_are_two() -> None:
    """Keys, groups and the order in which they run."""
    [report, verified] = integration_assets(made_product("tides"))

    assert (report.key, verified.key) == (REPORT, VERIFIED)
    assert set(report.group_names_by_key.values()) == {"integration"}
    assert verified.asset_deps[VERIFIED] == {REPORT}
