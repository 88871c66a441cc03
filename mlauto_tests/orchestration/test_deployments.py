"""Deployments as people see them in Dagster."""

from dataclasses import replace

import dagster as dg

from mlauto.delivery.progress import Rollout, Stage
from mlauto.orchestration.deployments import deployment, production_event
from mlauto.records import CheckOutcome, Deployment
from mlauto.store import Store
from mlauto_tests.delivery.conftest import make_evidence
from mlauto_tests.orchestration.conftest import made_product
from mlauto_tests.orchestration.test_render import assert_storable, each_hostile, kinds, tokens
from mlauto_tests.test_proof import PROOF

DEPLOYED = Deployment(environment="production", version="1", image="d" * 64, since=1.0)
ROLLOUT = Rollout(
    version="2", image="e" * 64, champion="1", began=1.0, since=2.0, stage=Stage.CANARY, why="verified", percent=5.0
)


@each_hostile
def test_a_deployment_shows_its_events(text: str) -> None:
    """One line of text for each, with the checks beside."""
    check = CheckOutcome(name="serving_expected_version", passed=True, summary=text)
    shown = deployment(replace(DEPLOYED, version="3", checks=(check,), events=(text, "second")))

    assert kinds(shown.metadata["events"]) <= {"bullet_list", "list_item", "paragraph", "inline", "text"}
    assert [token.type for token in tokens(shown.metadata["events"])].count("list_item_open") == 2
    assert shown.metadata["fallback"] == dg.MetadataValue.text("none")
    assert shown.data_version == dg.DataVersion("d" * 64 + "@3")
    assert [result.check_name for result in shown.check_results] == ["serving_expected_version"]
    assert_storable(shown.metadata)


@each_hostile
def test_a_rollout_shows_its_evidence(text: str) -> None:
    """Stage, share, and what was seen of candidate and champion, side by side."""
    evidence = make_evidence(
        requests={"2": 50, "1": 950},
        errors={"1": 1},
        p99_ms={"2": 12.0, "1": None},
        difference=-0.5,
        difference_low=-0.7,
        difference_high=-0.3,
        paired=400,
    )
    shown = deployment(DEPLOYED, replace(ROLLOUT, why=text, evidence=evidence)).metadata

    assert shown["rollout"].value == (f"version 2 canary of 5 %: {text}" if text else "version 2 canary")
    assert shown["rollout_percent"].value == 5.0
    table = str(shown["rollout_evidence"].value)
    for line in (
        "worse than the champion by (mae) | -0.5",
        "requests | 50 | 950",
        "errors | 0 | 1",
        "p99 ms | 12 | unknown",
        "-0.5 \\[-0.7, -0.3\\], 400 pairs",
    ):
        assert line in table
    assert_storable(shown)


def test_without_evidence_there_is_no_table() -> None:
    """A rollout that has just begun shows its stage."""
    shown = deployment(DEPLOYED, ROLLOUT).metadata

    assert "rollout_evidence" not in shown
    assert "rollout" not in deployment(DEPLOYED).metadata


def test_an_event_outside_of_runs(store: Store) -> None:
    """It has the asset's key and data version, and the newest rollout."""
    store.write_record("tides", "rollout", ROLLOUT)
    event = production_event(made_product(), DEPLOYED, store)

    assert event.asset_key == dg.AssetKey(["tides", "production"])
    assert event.tags == {"dagster/data_version": f"{'d' * 64}@1"}
    assert event.metadata["rollout"].value == "version 2 canary of 5 %: verified"


def test_a_proof_is_shown_as_text_table_and_numbers() -> None:
    """The e-value is drawn over time; a deployment without a rollout has none."""
    shown = deployment(DEPLOYED, ROLLOUT, PROOF).metadata

    assert shown["watch"].value == f"watched: {PROOF.told}"
    assert (shown["watch_rows"].value, shown["watch_e_value"].value) == (60, 80.0)
    assert shown["watched_since"] == dg.MetadataValue.timestamp(1.0)
    assert "difference of mae | 0.5" in str(shown["watch_evidence"].value)
    assert_storable(shown)
    assert not any(name.startswith("watch") for name in deployment(DEPLOYED, None, PROOF).metadata)
