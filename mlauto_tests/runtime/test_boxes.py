"""Boxes of jobs, and what is left of jobs whose maker is gone."""

import os
import socket
from pathlib import Path

from mlauto.runtime.boxes import BOX_LABEL, box, container_user, listening, remove_leftovers
from mlauto.runtime.engine import HOME_LABEL, ContainerSpec
from mlauto.runtime.fake_engine import FakeEngine
from mlauto.serving.web.sockets import short_path


def made(engine: FakeEngine, home: Path, folder: Path, name: str) -> str:
    """A container that says it belongs to that box."""
    image = engine.put("workshop:1")
    labels = {HOME_LABEL: str(home), BOX_LABEL: str(folder)}
    return engine.create(ContainerSpec(name=name, image=image.id, command=["x"], user="1:1", labels=labels))


def test_only_what_nobody_holds_is_removed(tmp_path: Path) -> None:
    """A job's container stays while its maker lives, and so does another home's; the others go with their boxes."""
    engine, home, other = FakeEngine(), tmp_path / "home", tmp_path / "other"
    left = home / "tmp" / "job-left"
    left.mkdir(parents=True)
    (left / "lock").touch()
    with box(home) as mine:
        living = made(engine, home, mine, "living")
        elsewhere = made(engine, other, left, "elsewhere")
        orphan = made(engine, home, left, "orphan")
        unboxed = made(engine, home, home / "tmp" / "job-gone", "unboxed")

        assert remove_leftovers(engine, home) == ("orphan", "unboxed")

        assert [engine.container(one) is None for one in (living, elsewhere, orphan, unboxed)] == [
            False,
            False,
            True,
            True,
        ]
        assert mine.exists()
        assert not left.exists()
    assert remove_leftovers(engine, home) == ("living",)


def test_a_box_is_for_the_containers_user_only(tmp_path: Path) -> None:
    """Others can neither enter it nor connect; the lock is ours; all of it goes at the end."""
    with box(tmp_path) as folder, listening(folder) as listener:
        found = folder.stat()
        assert (found.st_uid, found.st_mode & 0o777) == (container_user(), 0o700)
        assert (folder / "lock").stat().st_mode & 0o777 == 0o600
        assert (folder / "lock").stat().st_uid == os.getuid()
        assert (folder / "socket").stat().st_uid == container_user()
        with socket.socket(socket.AF_UNIX) as caller, short_path(folder / "socket") as name:
            caller.connect(name)
            listener.accept()[0].close()
    assert not folder.exists()


def test_a_box_may_lie_deep(tmp_path: Path) -> None:
    """A socket's path is limited, a state directory's is not."""
    deep = tmp_path / ("d" * 90) / ("e" * 90)
    with box(deep) as folder, listening(folder):
        assert (folder / "socket").is_socket()


def test_nobody_is_root_in_a_container() -> None:
    """Our own user where that is not root."""
    assert container_user() == (os.getuid() or 10001)
