"""Letters until everybody has them: kills, receivers that are down, and bounds."""

import fcntl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from mlauto.monitoring.notices import Notice
from mlauto.orchestration.outbox import ATTEMPTS, MOST, Outbox
from mlauto.orchestration.receivers import NotSentError
from mlauto.records import Problem
from mlauto.store import Store

NOTICE = Notice(key="tides/x/1", product="tides", kind="x", at=1.0, title="tides: x", text="words")


@dataclass
class Box:
    """A receiver that keeps what it gets, unless it is `down`."""

    got: list[str] = field(default_factory=list)
    tried: int = 0
    down: bool = False

    def __call__(self, notice: Notice) -> None:
        self.tried += 1
        if self.down:
            raise NotSentError("box: HTTP 500")
        self.got.append(notice.key)


@pytest.fixture
def outbox(tmp_path: Path) -> Callable[..., Outbox]:
    return lambda **boxes: Outbox(Store(tmp_path), boxes)


def problem(outbox: Outbox) -> str | None:
    found = outbox.store.read_record("tides", "problems/notices", Problem)
    return found.text if found else None


def notices(count: int) -> list[Notice]:
    return [replace(NOTICE, key=f"tides/x/{number}", at=float(number)) for number in range(count)]


def test_a_letter_goes_to_everybody_once(outbox: Callable[..., Outbox]) -> None:
    """In the order of time; put twice it is one letter, and another process goes on where one was killed."""
    one, two = Box(), Box()
    outbox(one=one, two=two).put(notices(3))
    outbox(one=one, two=two).put(notices(3))

    assert outbox(one=one, two=two).send(10.0) == 3
    assert outbox(one=one, two=two).send(11.0) == 0
    assert one.got == two.got == ["tides/x/0", "tides/x/1", "tides/x/2"]


def test_without_receivers_nothing_is_kept(outbox: Callable[..., Outbox], tmp_path: Path) -> None:
    """Nobody asked for notices."""
    assert outbox().put([NOTICE])
    outbox().send_soon()

    assert list(tmp_path.iterdir()) == []


def test_a_receiver_that_is_down_does_not_hold_up_the_others(outbox: Callable[..., Outbox]) -> None:
    """It is tried once in a pass, later again, and gets then what it has missed, alone; people see that it fails."""
    up, down = Box(), Box(down=True)
    box = outbox(up=up, down=down)
    box.put(notices(3))

    first, said = box.send(100.0), problem(box)
    early = box.send(105.0), problem(box)
    down.down = False
    later = box.send(111.0)

    assert (first, said) == (0, "notices are not sent, and tried again: box: HTTP 500")
    assert early == (0, said)
    assert (later, down.tried, len(down.got), len(up.got)) == (3, 4, 3, 3)
    assert problem(box) is None


def test_attempts_end(outbox: Callable[..., Outbox]) -> None:
    """After twelve, with pauses that double up to an hour; the problem stays."""
    box = outbox(down=Box(down=True))
    box.put([NOTICE])
    now, pauses = 0.0, []
    for _ in range(ATTEMPTS):
        before = now
        while box.receivers["down"].tried == len(pauses):  # type: ignore[attr-defined]
            box.send(now)
            now += 5.0
        pauses.append(now - before)

    assert pauses[1] < pauses[3] < pauses[6]
    assert max(pauses) <= 3610
    assert now < 7 * 3600
    assert box.send(now + 9999) == 0
    assert problem(box) == "gave up to send 'tides: x' after 12 attempts: box: HTTP 500"


def test_the_outbox_is_bounded(outbox: Callable[..., Outbox], tmp_path: Path) -> None:
    """What has no room is left where it comes from."""
    box = outbox(one=Box())

    assert box.put(notices(MOST))
    assert not box.put([replace(NOTICE, key="one more")])
    assert len(list((tmp_path / "outbox").glob("*.json"))) == MOST


def test_a_letter_that_cannot_be_read_is_thrown_away(outbox: Callable[..., Outbox], tmp_path: Path) -> None:
    """The others are sent."""
    one = Box()
    box = outbox(one=one)
    box.put([NOTICE])
    (tmp_path / "outbox" / "0.json").write_text("{")

    assert (box.send(1.0), one.got) == (1, ["tides/x/1"])
    assert list((tmp_path / "outbox").glob("*.json")) == []


def test_one_process_sends_at_a_time(outbox: Callable[..., Outbox], tmp_path: Path) -> None:
    """While another does, nothing is done."""
    box = outbox(one=Box())
    box.put([NOTICE])
    with (tmp_path / "outbox" / "lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert box.send(1.0) == 0
    assert box.send(1.0) == 1


def test_sending_never_holds_up_who_asks_for_it(outbox: Callable[..., Outbox]) -> None:
    """A receiver that hangs keeps one thread, and no more."""
    inside, leave = threading.Event(), threading.Event()
    calls = []

    def hangs(notice: Notice) -> None:
        calls.append(notice.key)
        inside.set()
        assert leave.wait(20)

    box = outbox(hangs=hangs)
    box.put([NOTICE])
    box.send_soon()
    assert inside.wait(20)
    box.send_soon()
    leave.set()
    [thread] = [thread for thread in threading.enumerate() if thread.name == "notices"]
    thread.join(20)

    assert calls == ["tides/x/1"]
    assert not thread.is_alive()
