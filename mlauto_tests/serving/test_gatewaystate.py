"""The gateway's state: values that change as a whole, and a file that is replaced as a whole."""

import json
from pathlib import Path

import pytest

from mlauto.serving.errors import StateError
from mlauto.serving.gatewaystate import GatewayState, ProductState, RouteState, VersionState, load, save

ONE, TWO = VersionState(bundle="/one"), VersionState(bundle="/two")


def two_versions() -> GatewayState:
    state = GatewayState().with_version("bikes", "1", ONE).with_version("bikes", "2", TWO)
    return state.switched("bikes", RouteState(champion="2", fallback="1", shadow="1"))


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    """Folders are made, and no temporary file stays."""
    path = tmp_path / "gateway" / "state.json"
    save(path, two_versions())

    assert load(path) == two_versions()
    assert [entry.name for entry in path.parent.iterdir()] == ["state.json"]
    assert json.loads(path.read_text())["products"]["bikes"]["versions"]["1"] == {"bundle": "/one"}


def test_no_file_is_an_empty_state(tmp_path: Path) -> None:
    """A first start."""
    assert load(tmp_path / "state.json") == GatewayState()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"products": []}', b'{"format": 2}'])
def test_anything_else_is_an_error_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    """The gateway does not go on from nothing when it cannot read what it should run."""
    (tmp_path / "state.json").write_bytes(content)

    with pytest.raises(StateError, match=r"state\.json is no gateway state"):
        load(tmp_path / "state.json")


def test_changes_leave_the_old_value_alone() -> None:
    """Each order makes a new state."""
    before = two_versions()
    after = before.switched("bikes", RouteState(champion="1"))

    assert (before.product("bikes").champion, before.product("bikes").fallback) == ("2", "1")
    assert after.product("bikes") == ProductState(champion="1", versions={"1": ONE, "2": TWO})


def test_an_older_gateways_state_is_read(tmp_path: Path) -> None:
    """Where nothing is said of a canary and a shadow, there is none."""
    path = tmp_path / "state.json"
    path.write_text(
        '{"format":1,"products":{"bikes":{"champion":"1","fallback":null,'
        '"versions":{"1":{"kind":"process","bundle":"/one"}}}}}'
    )

    assert load(path).product("bikes") == ProductState(champion="1", versions={"1": ONE})


def test_a_container_is_what_is_reached_at_a_socket(tmp_path: Path) -> None:
    """Its image is remembered for whoever makes the container again."""
    entry = VersionState(socket="/one/model.sock", image="sha256:1")
    path = tmp_path / "state.json"
    save(path, GatewayState().with_version("bikes", "1", entry))

    assert load(path).product("bikes").versions == {"1": entry}
    assert (entry.kind, ONE.kind) == ("container", "process")


def test_a_stopped_version_is_no_fallback_any_more() -> None:
    """And a product of which nothing runs is forgotten."""
    state = two_versions().without_version("bikes", "1")

    assert state.product("bikes") == ProductState(champion="2", versions={"2": TWO})
    canary = RouteState(champion="2", canary="1", percent=5)
    assert two_versions().switched("bikes", canary).without_version("bikes", "1") == state
    assert state.without_version("bikes", "2") == GatewayState()
    assert state.product("never heard of") == ProductState()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """Where the file cannot be replaced, it is as it was, and nothing lies beside it."""
    path = tmp_path / "state.json"
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        save(path, GatewayState())

    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]
