"""Messages and files over a socket, from an end that means well and from one that does not."""

import io
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from mlauto.runtime.parcel import MESSAGE_LIMIT, MOST_FILES, Delivery, ParcelError, receive, say, send_files


def carried(source: Path, names: list[str], into: Path, limit: int = 1 << 30) -> list[str]:
    """Send what lies in `source`, take it into `into`; what was refused."""
    here, there = socket.socketpair()
    with here, there:
        there.settimeout(10)
        here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
        refused = send_files(here, source, names)
        here.shutdown(socket.SHUT_WR)
        delivery = Delivery(into, names, limit)
        with there.makefile("rb") as stream:
            while (message := receive(stream)) is not None:
                delivery.take(message, stream)
    return refused


def test_messages_come_as_they_were_sent() -> None:
    """One after another, None at the end."""
    here, there = socket.socketpair()
    with here, there, there.makefile("rb") as stream:
        say(here, {"line": "a\nb\u2028c"})
        say(here, {})
        here.close()

        assert [receive(stream), receive(stream), receive(stream)] == [{"line": "a\nb\u2028c"}, {}, None]


@pytest.mark.parametrize(
    "content", [b"no json\n", b"[1]\n", b'{"cut": 1}', b"[" * 100_000 + b"\n", b"x" * (MESSAGE_LIMIT + 1), b"\xff\n"]
)
def test_what_is_no_message_is_refused(content: bytes) -> None:
    """Nonsense, another kind, half of one, one that nests too deep, one that never ends."""
    with pytest.raises(ParcelError, match="no message"):
        receive(io.BytesIO(content))


def test_files_come_whole_and_at_their_places(tmp_path: Path) -> None:
    """Below the names that were asked for, empty ones and deep ones too, with no right to be executed."""
    source, into = tmp_path / "source", tmp_path / "into"
    (source / "artifact" / "deep").mkdir(parents=True)
    (source / "artifact" / "deep" / "large").write_bytes(os.urandom(100_000))
    (source / "artifact" / "empty").touch(mode=0o777)
    (source / "single").write_text("single")
    (source / "other").write_text("other")

    assert carried(source, ["artifact", "single", "missing"], into) == []

    assert (into / "artifact" / "deep" / "large").read_bytes() == (source / "artifact" / "deep" / "large").read_bytes()
    assert (into / "artifact" / "empty").read_bytes() == b""
    assert not (into / "artifact" / "empty").stat().st_mode & 0o111
    assert sorted(path.name for path in into.iterdir()) == ["artifact", "single"]


def test_only_plain_files_are_sent(tmp_path: Path) -> None:
    """Links to files and folders and pipes are named instead, also where a whole name is one."""
    source = tmp_path / "source"
    (source / "artifact").mkdir(parents=True)
    (source / "artifact" / "link").symlink_to("/etc/passwd")
    (source / "artifact" / "folder").symlink_to("/etc")
    os.mkfifo(source / "artifact" / "pipe")
    (source / "single").symlink_to("/etc")

    refused = carried(source, ["artifact", "single"], tmp_path / "into")

    assert sorted(refused) == [
        "artifact/folder is no plain file",
        "artifact/link is no plain file",
        "artifact/pipe is no plain file",
        "single is no plain file",
    ]
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize(
    "message",
    [
        {"file": "../x", "bytes": 1},
        {"file": "artifact/../../x", "bytes": 1},
        {"file": "/artifact/x", "bytes": 1},
        {"file": "other", "bytes": 1},
        {"file": "", "bytes": 1},
        {"file": "artifact/\0", "bytes": 1},
        {"file": "artifact/x", "bytes": -1},
        {"file": "artifact/x", "bytes": "1"},
        {"file": 1, "bytes": 1},
        {"file": "artifact/x", "bytes": 101},
        {"file": "artifact/x", "bytes": 50},
        {"file": f"artifact/{'x' * 300}", "bytes": 1},
        {"file": "artifact", "bytes": 1},
    ],
)
def test_files_that_were_not_asked_for_are_refused(tmp_path: Path, message: dict[str, Any]) -> None:
    """Places outside, what is too large, what does not come whole, names that cannot be; nothing lands outside."""
    into = tmp_path / "into"
    (into / "artifact").mkdir(parents=True)

    with pytest.raises(ParcelError):
        Delivery(into, ["artifact"], limit=100).take(message, io.BytesIO(b"1"))

    assert [path.name for path in tmp_path.iterdir()] == ["into"]
    assert [path.name for path in into.iterdir()] == ["artifact"]


def test_nothing_of_ours_is_written_over(tmp_path: Path) -> None:
    """A file that is there stays, and so does what a link there names."""
    (tmp_path / "artifact").write_text("ours")

    with pytest.raises(ParcelError, match="cannot be kept: File exists"):
        Delivery(tmp_path, ["artifact"], limit=100).take({"file": "artifact", "bytes": 1}, io.BytesIO(b"1"))
    assert (tmp_path / "artifact").read_text() == "ours"


def test_the_number_of_files_is_bounded(tmp_path: Path) -> None:
    """Empty ones count as well."""
    delivery = Delivery(tmp_path, ["a"], limit=100, files=MOST_FILES - 1)
    delivery.take({"file": "a/1", "bytes": 0}, io.BytesIO())

    with pytest.raises(ParcelError, match="too many"):
        delivery.take({"file": "a/2", "bytes": 0}, io.BytesIO())


def test_a_message_is_one_line() -> None:
    """Whatever it holds."""
    here, there = socket.socketpair()
    with here, there:
        say(here, {"line": "x\r\n\0"})
        assert json.loads(there.recv(1000)) == {"line": "x\r\n\0"}
