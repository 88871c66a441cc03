"""Trainings in the very image in which commits are tested: real containers, the team's code and what it leaves."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mlauto.errors import TrainingError
from mlauto.product import ModelProduct
from mlauto.records import Commit, TrainedModel, TrainingSet
from mlauto.runtime.docker_engine import DockerEngine
from mlauto.runtime.docker_workshop import DockerWorkshop, Limits
from mlauto.runtime.engine import HOME_LABEL
from mlauto.runtime.flavours import Flavours
from mlauto.store import Store
from mlauto.training.policy import model_key
from mlauto.training.registry import FakeRegistry
from mlauto.training.train import train

pytestmark = pytest.mark.needs("docker")
Make = Callable[..., ModelProduct]
Sets = Callable[..., TrainingSet]
Rows = Callable[..., pd.DataFrame]
Train = Callable[..., TrainedModel]


@pytest.fixture
def workshop(flavours: Flavours, store: Store) -> Iterator[DockerWorkshop]:
    """A workshop of the store's own; no container of it may be left behind."""
    engine = DockerEngine()
    made = DockerWorkshop(engine, flavours, store.home, Limits(memory_mb=1024, space_mb=256))
    yield made
    left = engine.containers({HOME_LABEL: str(made.home)})
    for container in left:
        engine.remove(container.id)
    engine.close()
    assert left == []


@pytest.fixture
def trained(workshop: DockerWorkshop, store: Store, commit: Commit, tree: Path) -> Train:
    """`trained(product, training_set, **changes)`: the call under test; `code` is added to the team's module."""

    def run(product: ModelProduct, training_set: TrainingSet, code: str = "", **changes: Any) -> TrainedModel:
        with (tree / "src" / "team_of_tides" / "model.py").open("a") as module:
            module.write(code)
        given: dict[str, Any] = {
            "store": store,
            "registry": FakeRegistry(),
            "run_python": workshop.python(tree),
            "environment": workshop.environment(),
            "image": workshop.image(),
            "champion_predict": None,
            "champion": None,
            "reason": "first model",
            "now": 1000.0,
        }
        return train(product, commit, tree, training_set, **{**given, **changes})

    return run


def test_a_model_is_trained_in_a_container_as_it_is_beside_us(
    trained: Train, product: Make, training_set: Sets, rows: Rows, store: Store, workshop: DockerWorkshop, walker: Path
) -> None:
    """Its log comes as it is written; plan, walker and records are there, and the image is named."""
    lines: list[str] = []

    batches = training_set(rows(300))

    model = trained(product("boosted"), batches, on_line=lines.append)

    artifact = store.tree_path(model.artifact)
    assert model.passed, model.checks
    assert model.image == workshop.image()
    assert model.key == model_key("t" * 40, batches, product("boosted"), workshop.environment())
    assert lines[1] == "fitting Pipeline with HistGradientBoostingRegressor on 240 rows", lines
    assert "served as a compiled plan: yes" in lines
    assert (artifact / "plan" / "walker.so").read_bytes() == walker.read_bytes()
    assert {path.name for path in artifact.iterdir()} >= {"model.skops", "golden.json", "plot.png", "card.md", "plan"}
    assert not list((store.home / "tmp").iterdir())


def test_the_teams_own_failure_is_told_as_ever(trained: Train, product: Make, training_set: Sets, rows: Rows) -> None:
    """Its sentence and the last lines of the log."""
    with pytest.raises(TrainingError, match=re.escape("the solver did not converge")):
        trained(product("failing"), training_set(rows(200)))


HOSTILE = {
    "x = [b'1' * (1 << 28) for _ in range(9)]": "the training was stopped: the memory limit of 1024 MB was reached",
    "open(os.environ['HOME'] + '/big', 'wb').write(b'1' * (300 << 20))": "more than 256 MB were written to ",
    "import urllib.request; urllib.request.urlopen('http://198.51.100.1')": "there is no network here",
    "print(open(os.environ['HOME'] + '/request.json', 'w'))": "Read-only file system",
    "os.symlink('/etc/passwd', os.environ['HOME'] + '/artifact/x')": "only plain files are taken: ['artifact/x is no",
    "import atexit; atexit.register(lambda: open(os.environ['HOME'] + '/artifact/evaluation.json', 'w').write('{'))": (
        "the training wrote no valid evaluation.json"
    ),
    "os.kill(os.getppid(), 9)": "it ended everything in its container (exit code 137)",
}


@pytest.mark.parametrize("line", HOSTILE)
def test_what_stopped_a_training_is_told(
    trained: Train, product: Make, training_set: Sets, rows: Rows, line: str
) -> None:
    """The error names the limit; nothing was registered or left behind."""
    code = f"\n\ndef hostile():\n    {line}\n    return ridge()\n"
    registry = FakeRegistry()

    with pytest.raises(TrainingError, match=re.escape(HOSTILE[line])):
        trained(product("hostile"), training_set(rows(200)), code, registry=registry)

    assert registry.registrations == {}


def test_a_training_is_ended_at_its_limit(trained: Train, product: Make, training_set: Sets, rows: Rows) -> None:
    """With the limit's name."""
    limited = product("sleeping", training={"timeout": 4.0})

    with pytest.raises(TrainingError, match=r"took longer than 4 s: raise training\.timeout"):
        trained(limited, training_set(rows(200)))
