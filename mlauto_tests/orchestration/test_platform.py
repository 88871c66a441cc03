"""The clients of a code location, and the exported trees that they keep."""

import os
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from mlauto.errors import SourceError
from mlauto.orchestration import platform as platform_module
from mlauto.orchestration.platform import Platform, PlatformResource
from mlauto.records import Commit
from mlauto.runtime.docker_workshop import DockerWorkshop
from mlauto.runtime.local import LocalRuntime
from mlauto.runtime.workshop import LocalWorkshop
from mlauto.settings import Settings
from mlauto.training.registry import MlflowRegistry
from mlauto_tests.orchestration.conftest import World


def commits(world: World, count: int) -> list[Commit]:
    """So many further commits, oldest first."""
    origin = world.repository()
    shas = origin.many(count)
    mirror = world.platform.mirror(world.product)
    mirror.fetch()
    return [mirror.commit(sha) for sha in shas]


def folder(world: World) -> Path:
    return world.settings.product_home("tides") / "trees"


def test_the_defaults_of_one_machine_touch_nothing(settings: Settings) -> None:
    """Making a platform connects to nothing and creates nothing."""
    made = Platform.from_settings(settings)

    assert isinstance(made.runtime, LocalRuntime)
    assert isinstance(made.registry, MlflowRegistry)
    assert made.warm.address == settings.home / "warm.sock"
    assert made.workshop == LocalWorkshop(made.warm)
    assert not settings.home.exists()


def test_with_docker_other_peoples_code_runs_in_containers(settings: Settings) -> None:
    """With the memory that the settings allow; making it connects to nothing and creates nothing."""
    made = Platform.from_settings(replace(settings, runtime="docker", job_memory_mb=777))

    assert isinstance(made.workshop, DockerWorkshop)
    assert made.workshop.limits.memory_mb == 777
    assert made.workshop.home == settings.home
    assert not settings.home.exists()


def test_the_resource_is_made_from_the_environment(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    """A run's process sees what its environment says."""
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)

    made = PlatformResource().create_resource(dg.build_init_resource_context(instance=instance))

    assert made.settings == settings
    assert made.store.home == settings.home


def test_a_tree_is_exported_once(world: World) -> None:
    """The tree of that commit, complete; the second time the same folder is given back."""
    [commit] = commits(world, 1)

    tree = world.platform.tree(world.product, commit)
    (tree / "mark").touch()
    again = world.platform.tree(world.product, commit)

    assert (tree / "n.txt").read_text() == "00000000"
    assert tree == again == folder(world) / commit.sha
    assert (again / "mark").exists()


def test_the_trees_that_were_used_last_are_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old commit that is still trained from does not lose its tree to newer commits."""
    monkeypatch.setattr(platform_module, "TREES_KEPT", 3)
    made = commits(world, 5)
    for age, commit in enumerate(made[:3]):
        tree = world.platform.tree(world.product, commit)
        os.utime(tree, (1000 + age, 1000 + age))

    world.platform.tree(world.product, made[0])
    world.platform.tree(world.product, made[3])
    world.platform.tree(world.product, made[4])

    kept = {path.name for path in folder(world).iterdir()}
    assert kept == {made[0].sha, made[3].sha, made[4].sha}


def test_what_a_killed_prune_left_is_cleared(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees vanish by name first, so that nobody takes half of one; the rest of one goes with the next."""
    monkeypatch.setattr(platform_module, "TREES_KEPT", 1)
    [first, second] = commits(world, 2)
    tree = world.platform.tree(world.product, first)
    os.utime(tree, (1000, 1000))
    left = folder(world) / f".gone-{'0' * 40}"
    left.mkdir()
    (left / "half").touch()
    os.utime(left, (900, 900))

    world.platform.tree(world.product, second)

    assert [path.name for path in folder(world).iterdir()] == [second.sha]


def test_an_unknown_commit_is_an_error_with_its_name(world: World) -> None:
    """Nothing is left of the attempt."""
    [commit] = commits(world, 1)
    missing = Commit(sha="f" * 40, tree=commit.tree, subject="", author="", time=0.0)

    with pytest.raises(SourceError, match="commit ffffffffffff is not in the mirror"):
        world.platform.tree(world.product, missing)

    assert list(folder(world).iterdir()) == []
