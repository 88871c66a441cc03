"""Dagster's own commands find the installation's history by themselves, tried in a process of its own."""

import shutil
import subprocess
import sys

import dagster as dg

from mlauto.commands.loop import dagster_environment
from mlauto.orchestration.instance import HomeArtifacts, HomeComputeLogs, HomeStorage
from mlauto.settings import PACKAGE, Settings

ASKED = """
import dagster as dg
with dg.DagsterInstance.get() as instance:
    instance.add_dynamic_partitions("demand_commits", ["abc"])
    print(instance.storage_directory(), type(instance.compute_log_manager).__name__)
"""


def test_the_history_lies_below_the_state_directory(settings: Settings) -> None:
    """`dagster.yaml` of the checkout leads every process of these settings to the same history."""
    ran = subprocess.run(
        [sys.executable, "-c", ASKED],
        cwd=settings.root,
        env=dagster_environment(settings),
        check=True,
        capture_output=True,
        text=True,
    )

    home = settings.home / "dagster"
    assert ran.stdout.split() == [str(home / "storage"), "HomeComputeLogs"]
    assert (home / "history" / "runs.db").is_file()


def test_a_plain_command_in_the_checkout_sees_the_same_history(settings: Settings) -> None:
    """Without DAGSTER_HOME Dagster takes `dagster.yaml` from the working directory: the run is in our history."""
    shutil.copytree(PACKAGE / "defs" / "demand", settings.defs / "demand")
    environment = {k: v for k, v in dagster_environment(settings).items() if k != "DAGSTER_HOME"}
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "mlauto.definitions"]

    ran = subprocess.run(
        [*command, "--select", "demand/training_set"],
        cwd=PACKAGE.parent,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )

    assert "demand has no accepted batch yet: put a data file into its landing folder" in ran.stderr
    storage = HomeStorage.from_local(str(settings.home / "dagster"))
    (run,) = storage.run_storage.get_runs()
    storage.dispose()
    assert run.status is dg.DagsterRunStatus.FAILURE


def test_none_of_the_three_takes_options() -> None:
    """A directory written into `dagster.yaml` would be ignored: it is refused instead."""
    assert [kind.config_type() for kind in (HomeStorage, HomeArtifacts, HomeComputeLogs)] == [{}, {}, {}]
