"""The shared fixtures themselves: a missing thing skips by name, and fails where CI requires it."""

import importlib.util
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from mlauto.settings import Settings
from mlauto.store import Store


@pytest.fixture
def conftest() -> ModuleType:
    """The conftest as a module of its own, in which things may be missing."""
    spec = importlib.util.spec_from_file_location("conftest_under_test", Path(__file__).with_name("conftest.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("required", ["", "chromium", "chromium, docker"])
def test_a_missing_thing_skips_by_name(conftest: ModuleType, required: str) -> None:
    """What is not required is skipped, with the reason."""
    conftest.NEEDS["streams"] = lambda: "the folder is not there"

    with pytest.raises(pytest.skip.Exception, match="needs streams: the folder is not there"):
        conftest.check_need("streams", required)


@pytest.mark.parametrize("required", ["streams", "chromium, streams"])
def test_a_required_thing_fails(conftest: ModuleType, required: str) -> None:
    """In CI nothing is skipped silently."""
    conftest.NEEDS["streams"] = lambda: "the folder is not there"

    with pytest.raises(pytest.fail.Exception, match="MLAUTO_REQUIRE lists streams, but the folder is not there"):
        conftest.check_need("streams", required)


def test_a_thing_that_is_there_runs(conftest: ModuleType) -> None:
    """Neither skipped nor failed, required or not."""
    conftest.NEEDS["streams"] = lambda: None

    assert conftest.check_need("streams", "streams") is None
    assert conftest.check_need("streams", "") is None


def test_a_package_may_be_in_another_environment(
    conftest: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Our own comes first; else the first on PATH whose Python has it."""
    for name in ("one", "two"):
        (tmp_path / name / "bin").mkdir(parents=True)
    (tmp_path / "two" / "lib" / "python3.11" / "site-packages" / "judge").mkdir(parents=True)
    monkeypatch.setenv("PATH", f"{tmp_path}/one/bin:{tmp_path}/two/bin")

    assert conftest.python_with("judge") == f"{tmp_path}/two/bin/python"
    assert conftest.python_with("pytest") == sys.executable
    assert conftest.python_with("nowhere") is None


def test_streams_are_where_the_variable_says(
    conftest: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`MLAUTO_STREAMS` wins; the default is beside the checkout."""
    monkeypatch.delenv("MLAUTO_STREAMS", raising=False)
    beside = Path(__file__).resolve().parents[2] / "shared" / "streams"
    assert conftest.streams_folder() == beside

    monkeypatch.setenv("MLAUTO_STREAMS", str(tmp_path))
    assert conftest.NEEDS["streams"]() is not None
    (tmp_path / "bike_hourly.csv").touch()
    assert conftest.NEEDS["streams"]() is None


def test_a_need_that_nobody_knows_is_an_error(needs: Callable[[str], None]) -> None:
    """A typo in a marker must not skip or run by accident."""
    with pytest.raises(KeyError, match="chromum"):
        needs("chromum")


def test_state_is_each_tests_own(settings: Settings, store: Store, tmp_path: Path) -> None:
    """Nothing that a test writes is below the checkout."""
    assert settings.home == store.home == tmp_path / "home"
    assert settings.defs.is_relative_to(tmp_path)
    assert settings.mlflow_uri.endswith(f"{tmp_path}/home/mlflow/mlflow.db")


def test_a_missing_tool_is_named_with_what_brings_it(conftest: ModuleType) -> None:
    """One that is there is found, beside this Python or on PATH, and is no problem."""
    assert conftest._tool("no-such-program", "apt-get install it")() == (
        "no no-such-program on PATH: apt-get install it"
    )
    assert conftest._tool("pytest", "make setup")() is None
    assert Path(conftest.tool("pytest")).is_file()


def test_signals_mean_what_they_mean_elsewhere() -> None:
    """Whatever ran in this process before, and wherever it was begun."""
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
