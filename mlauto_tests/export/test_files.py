"""What is exported, and how it is compared with what is committed."""

from pathlib import Path

import pytest

from mlauto.errors import MlautoError
from mlauto.export.files import differing, exported
from mlauto.export.targets import Receivers, Targets
from mlauto_tests.export.conftest import made


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A folder with all files, and their texts."""
    files = exported([made()], Targets())
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path, files


def test_equal_products_make_equal_files(written: tuple[Path, dict[str, str]]) -> None:
    """Text by text, and nothing differs."""
    folder, files = written

    assert exported([made()], Targets()) == files
    assert differing(folder, files) == []


def test_each_difference_is_named(written: tuple[Path, dict[str, str]]) -> None:
    """A file that changed, one that is gone, a dashboard too many."""
    folder, files = written
    (folder / "alerts.yml").write_text(files["alerts.yml"] + "\n")
    (folder / "rules.yml").unlink()
    (folder / "grafana/dashboards/old.json").write_text("{}")

    assert differing(folder, files) == [
        f"{folder}/rules.yml is missing",
        f"{folder}/alerts.yml differs",
        f"{folder}/grafana/dashboards/old.json is not exported",
    ]


def test_a_file_that_cannot_be_read_is_an_error(written: tuple[Path, dict[str, str]]) -> None:
    """Not a difference: nobody knows."""
    folder, files = written
    (folder / "rules.yml").unlink()
    (folder / "rules.yml").mkdir()

    with pytest.raises(MlautoError, match=r"rules.yml cannot be read \(Is a directory\)"):
        differing(folder, files)


def test_only_limits_name_products() -> None:
    """Another product changes the rules and nothing else; another address does not change the rules."""
    one, two = exported([made("a")], Targets()), exported([made("a"), made("b")], Targets())
    moved = exported([made("a")], Targets(gateway="g:1", receivers=Receivers(webhook="http://h/in")))

    assert {name for name in one if one[name] != two[name]} == {"rules.yml"}
    assert {name for name in one if one[name] != moved[name]} == {"prometheus.yml", "alertmanager.yml"}
