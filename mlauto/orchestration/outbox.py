"""Notices on their way: each is a file until every receiver took it, so that a kill loses none. At least once.

Letters are sent by a thread of the sensor's process, never by a tick; a receiver that is down delays nobody.
"""

import fcntl
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from mlauto.monitoring.notices import Notice
from mlauto.orchestration.receivers import NotSentError, Receiver
from mlauto.records import Problem
from mlauto.store import Store, atomic_write, digest_of

__all__ = ["Letter", "Outbox"]

MOST = 500  # letters that wait; more wait where they come from
ATTEMPTS = 12  # the last one about six hours after the first
FIRST_PAUSE = 10.0
LONGEST_PAUSE = 3600.0


@dataclass(frozen=True, kw_only=True)
class Letter:
    """A notice, the receivers that have it, how often it was tried, and when it is tried again."""

    notice: Notice
    done: tuple[str, ...] = ()
    attempts: int = 0
    due: float = 0.0


class Outbox:
    """The letters below one state directory; `receivers` by name. Without any, nothing is ever put in."""

    def __init__(self, store: Store, receivers: Mapping[str, Receiver]) -> None:
        self.store, self.receivers = store, receivers
        self.folder = store.home / "outbox"
        self._thread: threading.Thread | None = None

    def put(self, notices: Iterable[Notice]) -> bool:
        """Keep letters to be sent; one that is there already stays. False, and nothing kept, when there is no room."""
        notices = list(notices) if self.receivers else []
        if notices and len(self._paths()) + len(notices) > MOST:
            return False
        for notice in notices:
            path = self.folder / f"{digest_of(notice.key)[:32]}.json"
            if not path.exists():
                self._write(path, Letter(notice=notice))
        return True

    def send_soon(self) -> None:
        """Have a thread send what is due, unless one is at it; returns at once."""
        if not self.receivers or not self._paths() or (self._thread is not None and self._thread.is_alive()):
            return
        self._thread = threading.Thread(target=self.send, name="notices", daemon=True)
        self._thread.start()

    def send(self, now: float | None = None) -> int:
        """Send what is due, the oldest first, and say how many letters are done; one process at a time.

        A receiver that fails gets nothing more in this pass. What no receiver took after 12 attempts in six hours is
        given up. What could not be sent is the product's problem `notices`, for `mlauto status`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return 0
            return self._send_all(time.time() if now is None else now)

    def _send_all(self, now: float) -> int:
        down: dict[str, str] = {}
        sent, problems, products = 0, dict[str, str](), set[str]()
        letters = [(path, letter) for path in self._paths() if (letter := _read(path)) is not None]
        for path, letter in sorted(letters, key=lambda pair: pair[1].notice.at):
            products.add(letter.notice.product)
            if letter.due > now:
                problems.setdefault(letter.notice.product, "")
                continue
            failed = self._deliver(path, letter, down, now)
            sent += not failed
            if failed:
                problems[letter.notice.product] = failed
        self._tell(products, problems, now)
        return sent

    def _deliver(self, path: Path, letter: Letter, down: dict[str, str], now: float) -> str:
        """Try the receivers that are left; "" when all have it, else why not."""
        done, failed = list(letter.done), []
        for name, receiver in self.receivers.items():
            if name in done:
                continue
            if name not in down:
                try:
                    receiver(letter.notice)
                    done.append(name)
                    continue
                except NotSentError as error:
                    down[name] = str(error)
            failed.append(down[name])
        attempts = letter.attempts + 1
        if not failed:
            path.unlink(missing_ok=True)
            return ""
        if attempts >= ATTEMPTS:
            path.unlink(missing_ok=True)
            return f"gave up to send {letter.notice.title!r} after {attempts} attempts: {', '.join(failed)}"
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**letter.attempts)
        self._write(path, replace(letter, done=tuple(done), attempts=attempts, due=now + pause))
        return f"notices are not sent, and tried again: {', '.join(failed)}"

    def _tell(self, products: set[str], problems: Mapping[str, str], now: float) -> None:
        """Keep what failed as a problem; where all was sent there is none any more."""
        for product in products:
            text = problems.get(product)
            known = self.store.read_record(product, "problems/notices", Problem)
            if text is None:
                self.store.record_path(product, "problems/notices").unlink(missing_ok=True)
            elif text and (known is None or known.text != text):
                self.store.write_record(product, "problems/notices", Problem(where="notices", since=now, text=text))

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("*.json"))

    def _write(self, path: Path, letter: Letter) -> None:
        atomic_write(path, msgspec.json.encode(letter))


def _read(path: Path) -> Letter | None:
    """The letter; None, and it is gone, when it is none: nobody could ever send it."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Letter)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError:
        path.unlink(missing_ok=True)
        return None
