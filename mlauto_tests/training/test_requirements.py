import importlib
import importlib.metadata
import sys
from pathlib import Path

import pytest

from mlauto.training.requirements import pinned

BASE = {"numpy", "pandas", "scikit-learn", "scipy", "skops"}


def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: str) -> None:
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, name, raising=False)
    importlib.import_module(name)


def names(pins: tuple[str, ...]) -> set[str]:
    return {pin.partition("==")[0] for pin in pins}


def test_base_libraries_are_always_pinned(tmp_path: Path) -> None:
    """Exact installed versions, sorted."""
    pins = pinned(tmp_path)

    assert names(pins) == BASE
    assert list(pins) == sorted(pins)
    assert f"numpy=={importlib.metadata.version('numpy')}" in pins


def test_what_the_team_imports_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Distributions are named, not modules; the standard library and the team's own modules are not."""
    source = (
        "import json\nimport msgspec.json\nimport puffins_helper\n\n\ndef late():\n    from yaml import safe_load\n"
    )
    load(tmp_path, monkeypatch, "puffins_helper", "")
    load(tmp_path, monkeypatch, "puffins", source)

    assert names(pinned(tmp_path)) == BASE | {"msgspec", "PyYAML"}


def test_modules_from_elsewhere_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what lies below the root is read, however much else is loaded."""
    other = tmp_path / "other"
    other.mkdir()
    load(other, monkeypatch, "guillemots", "import msgspec\n")

    assert names(pinned(tmp_path / "root")) == BASE


def test_a_team_without_foreign_imports_needs_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports of the base libraries by their module names are known."""
    load(tmp_path, monkeypatch, "razorbills", "import sklearn.linear_model\nfrom numpy import array\n")

    assert names(pinned(tmp_path)) == BASE
