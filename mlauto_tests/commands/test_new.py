"""`mlauto new`: everything that it makes is used here as the loop would use it."""

import csv
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlauto.commands.new import NewProduct, new_product
from mlauto.errors import ProductError
from mlauto.integration.checks import run_checks
from mlauto.integration.git import mirror_of
from mlauto.product import ModelProduct
from mlauto.runtime.warm import WarmProcess
from mlauto.runtime.workshop import LocalWorkshop
from mlauto.settings import Settings


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A CSV as people have them: gaps, text, booleans, umlauts, quotes, spaces, odd column names."""
    chance = random.Random(0)
    path = tmp_path / "given" / "my data.csv"
    path.parent.mkdir()
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["when", 'size "m²"', "rooms", "garden", "Straße", "note", "all empty", "price", "sold"])
        for row in range(300):
            rooms = chance.choice([1, 2, 3, ""])
            street = chance.choice(["Bäckerweg", "O'Hara's", "", "a,b"])
            size = "" if row % 11 == 0 else round(chance.uniform(20, 200), 1)
            sold = "yes" if chance.random() < 0.5 else "no"
            garden = chance.choice(["True", "False"])
            when = f"2025-01-01 {row // 60:02d}:{row % 60:02d}"
            price = round(chance.uniform(100, 900), 2)
            writer.writerow([when, size, rooms, garden, street, f"n{row}", "", price, sold])
    return path


@pytest.fixture
def importable() -> Iterator[None]:
    """Whatever a test imports from a made-up repository is forgotten afterwards."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.split(".")[0] in {"houses", "plain"}:
            del sys.modules[name]


def definition(made: NewProduct) -> ModelProduct:
    text = made.definition.read_text()
    assert len(text.splitlines()) <= 25
    document = yaml.safe_load(text)
    assert document["type"] == "mlauto.ModelProduct"
    return ModelProduct.model_validate(document["attributes"])


def houses(settings: Settings, mixed: Path) -> NewProduct:
    return new_product(settings, "houses", source=mixed, target="sold", task="classification", timestamp="when")


def test_definition_is_a_valid_product(settings: Settings, mixed: Path) -> None:
    """The YAML says what was asked for, and its paths are those that were made."""
    made = houses(settings, mixed)

    product = definition(made)

    assert product.name == "houses"
    assert (product.data.target, product.data.task, product.data.timestamp) == ("sold", "classification", "when")
    assert product.data.exclude == ("note", "all empty")
    assert settings.resolve(product.code.repository) == made.repository
    assert settings.resolve(product.data.landing) == made.landed.parent
    assert (made.definition.parent / product.data.expectations) == made.expectations
    assert all(path.exists() for path in made.paths)
    assert "note: column 'note' is excluded" in str(made)


def test_file_lands_whole_and_unchanged(settings: Settings, mixed: Path) -> None:
    """The user's file is copied byte for byte, and nothing temporary stays anywhere."""
    made = houses(settings, mixed)

    assert made.landed.read_bytes() == mixed.read_bytes()
    for folder in (made.landed.parent, settings.root / "models", settings.root / "landing", settings.defs):
        assert len(list(folder.iterdir())) == 1
        assert folder.stat().st_mode & 0o755 == 0o755


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_generated_repository_passes_its_own_checks(settings: Settings, mixed: Path, tmp_path: Path, task: str) -> None:
    """Mirror, export, linter and tests: the first commit is green, as the loop will find it."""
    target = "sold" if task == "classification" else "price"
    made = new_product(settings, "houses", source=mixed, target=target, task=task, timestamp="when")
    product = definition(made)
    mirror = mirror_of(product, settings)
    mirror.fetch()
    sha = mirror.head()
    assert sha is not None
    mirror.export(sha, tmp_path / "tree")

    report = run_checks(
        mirror.commit(sha),
        tmp_path / "tree",
        [*product.code.checks, "ruff format --check ."],
        workshop=LocalWorkshop(WarmProcess(settings.home / "warm.sock")),
        timeout=120,
    )

    assert report.passed, [result.output for result in report.results]
    assert report.results[1].tests == 3
    assert mirror.commit(sha).subject == "A first model, proposed from the data"


def test_model_fits_serves_and_survives_skops(
    settings: Settings, mixed: Path, importable: None, tmp_path: Path
) -> None:
    """The pipeline learns from the file as the loop types it, and from a skops file without anything more trusted."""
    import skops.io

    from mlauto.serving.trust import load_model
    from mlauto.training.batches.frames import read_file, typed
    from mlauto.training.estimator import build, fitted

    made = houses(settings, mixed)
    product = definition(made)
    frame = read_file(made.landed, timestamp="when")
    features = frame.drop(columns=["sold", "when", *product.data.exclude])
    estimator = build(product.code.estimator, made.repository)
    model, weights = fitted(estimator, features, frame["sold"].to_numpy(), [0.5] * len(frame))
    skops.io.dump(model, tmp_path / "model.skops")
    loaded = load_model(tmp_path / "model.skops", [])

    row = {'size "m²"': None, "rooms": 2, "garden": True, "price": 5.0, "Straße": "never seen"}
    import pandas as pd

    asked = typed(pd.DataFrame([row, dict.fromkeys(row)]))
    assert weights == "passed as model__sample_weight"
    assert set(loaded.predict(asked)) <= {"yes", "no"}
    assert (loaded.predict_proba(features) == model.predict_proba(features)).all()


def test_proposed_expectations_accept_the_file(settings: Settings, mixed: Path) -> None:
    """The first batch passes the suite that was proposed from it, and a file of other columns does not."""
    from mlauto.training.batches.frames import read_file
    from mlauto.training.batches.quality import validate

    made = houses(settings, mixed)
    frame = read_file(made.landed, timestamp="when")

    assert json.loads(made.expectations.read_text())["expectations"]
    assert validate(frame, made.expectations).passed
    assert not validate(frame.drop(columns=["rooms"]), made.expectations).passed


def test_without_a_file_an_example_closes_the_loop(settings: Settings) -> None:
    """A product without data of its own gets a small made-up file, and says so."""
    made = new_product(settings, "plain")

    product = definition(made)

    assert (product.data.target, product.data.task, product.data.timestamp) == ("target", "regression", "timestamp")
    assert made.landed.name == "example.csv"
    assert "made up" in made.notes[0]


@pytest.mark.parametrize("place", ["models", "landing", "defs"])
def test_nothing_is_overwritten(settings: Settings, mixed: Path, place: str) -> None:
    """A folder of that name is named in the refusal, stays as it is, and nothing else is made."""
    mine = settings.root / place / "houses" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")

    with pytest.raises(ProductError, match=f"{place}/houses exists already"):
        houses(settings, mixed)
    made = [p for base in ("models", "landing", "defs") for p in (settings.root / base).rglob("*") if p.is_file()]
    assert made == [mine]


def test_second_product_of_a_name_is_refused(settings: Settings, mixed: Path) -> None:
    """Making it twice changes nothing the second time."""
    made = houses(settings, mixed)
    before = {path: path.stat().st_mtime_ns for path in made.paths}

    with pytest.raises(ProductError, match="exists already"):
        houses(settings, mixed)
    assert {path: path.stat().st_mtime_ns for path in made.paths} == before


def test_empty_landing_folder_is_no_obstacle(settings: Settings, mixed: Path) -> None:
    """A sensor may have made the folder before."""
    (settings.root / "landing" / "houses").mkdir(parents=True)

    assert houses(settings, mixed).landed.exists()


@pytest.mark.parametrize("name", ["Houses", "1st", "a-b", "../x", "", "class", "json", "numpy", "mlauto", "x" * 42])
def test_names_that_cannot_be_used(settings: Settings, name: str) -> None:
    """A name is an asset prefix and a Python package: it must be free as both."""
    with pytest.raises(ProductError, match=r"product name|also a Python module"):
        new_product(settings, name)
    assert not settings.defs.exists()


def test_failure_leaves_nothing_behind(settings: Settings, mixed: Path) -> None:
    """When a later part cannot be made, the earlier ones are taken back."""
    settings.defs.write_text("a file where the products' folder should be")

    with pytest.raises(ProductError, match="defs/houses could not be made"):
        houses(settings, mixed)
    assert list((settings.root / "models").iterdir()) == []
    assert list((settings.root / "landing").iterdir()) == []


def test_wrong_column_makes_nothing(settings: Settings, mixed: Path) -> None:
    """The file is understood before anything is written."""
    with pytest.raises(ProductError, match=r"did you mean 'sold'\?"):
        new_product(settings, "houses", source=mixed, target="solt")
    assert not (settings.root / "models").exists()


def test_repository_takes_commits_on_a_machine_that_knows_nobody(
    settings: Settings, mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The identity is set in the repository, so that the next commit works without any git configuration."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    made = houses(settings, mixed)
    (made.repository / "houses" / "extra.py").write_text('"""More."""\n')
    environment = {**os.environ, "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}

    for command in (["add", "-A"], ["commit", "-q", "-m", "more"]):
        subprocess.run(["git", "-C", str(made.repository), *command], check=True, env=environment)

    log = subprocess.run(
        ["git", "-C", str(made.repository), "log", "--format=%an %D", "-1"], check=True, capture_output=True, text=True
    )
    assert log.stdout.strip() == "mlauto HEAD -> main"


@pytest.mark.needs("streams")
def test_real_stream(settings: Settings, streams: Path) -> None:
    """A real file: every named feature is a number, the leaks are excluded."""
    made = new_product(
        settings,
        "bikes",
        source=streams / "bike_hourly.csv",
        target="target",
        timestamp="timestamp",
        exclude=["casual", "registered"],
    )

    model = (made.repository / "bikes" / "model.py").read_text()
    scope: dict[str, Any] = {}
    exec(model, scope)

    assert made.task == "regression"
    assert "windspeed" in scope["NUMBERS"]
    assert not {"casual", "registered", "timestamp", "target"} & {*scope["NUMBERS"], *scope["CATEGORIES"]}
