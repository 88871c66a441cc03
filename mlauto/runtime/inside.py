"""What runs as the first process of a job's container: `python -m mlauto.runtime.inside`.

It connects to the socket that is mounted at `BOX`, does one order after another and tells each line that a command
writes, how the command ended, and which of the container's limits it met. After each order nothing that it started is
alive. It ends, and the container with it, when the other end goes away.
"""

import contextlib
import ctypes
import os
import queue
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from mlauto.runtime.parcel import ParcelError, receive, say, send_files
from mlauto.runtime.process import run_program, scrubbed_environment

__all__ = ["BOX", "main"]

BOX = "/run/mlauto/box"  # a directory, in which the socket lies
# one line per file, of cgroup version 2 and of version 1: how often the limit was met
COUNTERS = {
    "oom": (("memory.events", "oom_kill"), ("memory/memory.oom_control", "oom_kill")),
    "forks": (("pids.events", "max"), ("pids/pids.events", "max")),
}
CGROUP = Path("/sys/fs/cgroup")
NOT_DUMPABLE = 4  # PR_SET_DUMPABLE: others of the same user can neither trace this process nor open what it has open
DYING_SECONDS = 5.0


def main(arguments: Sequence[str]) -> int:
    """Serve until the other end goes away; the arguments are the paths of the temporary file systems."""
    ctypes.CDLL(None).prctl(NOT_DUMPABLE, 0, 0, 0, 0)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"{BOX}/socket")
        orders: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=_listen, args=(connection.makefile("rb"), orders), daemon=True).start()
        while True:
            _do(connection, orders.get(), arguments)


def _listen(stream: BinaryIO, orders: "queue.SimpleQueue[dict[str, Any]]") -> None:
    """Take orders while something runs, to hear at once that nobody is there any more."""
    with contextlib.suppress(OSError, ParcelError):
        while (order := receive(stream)) is not None:
            orders.put(order)
    _kill_all()
    os._exit(0)


def _do(connection: socket.socket, order: dict[str, Any], spaces: Sequence[str]) -> None:
    """One order: copy a tree where one is named, run the command, clear up, tell the end and send the files."""
    before = _counters()
    if order["copy"]:
        try:
            shutil.copytree(order["copy"], order["cwd"], symlinks=True)
        except (OSError, shutil.Error) as error:
            say(connection, {"failed": str(error)[:2000]})
            return
    with contextlib.suppress(FileExistsError):
        Path(order["env"]["HOME"]).mkdir()
    finished = run_program(
        order["argv"],
        cwd=Path(order["cwd"]),
        env=scrubbed_environment(**order["env"]),
        timeout=order["timeout"],
        on_line=lambda line: say(connection, {"line": line}),
    )
    _kill_all()
    after = _counters()
    refused = send_files(connection, Path(order["folder"]), order["fetch"])
    say(
        connection,
        {
            "exit": finished.exit_code,
            "timed_out": finished.timed_out,
            "seconds": finished.seconds,
            "why": finished.why,
            "refused": refused[:20],
            "full": [space for space in spaces if os.statvfs(space).f_bavail == 0],
            **{name: after[name] - before[name] for name in COUNTERS},
        },
    )


def _kill_all() -> None:
    """End every process but this one and the container's init, until there is none."""
    deadline = time.monotonic() + DYING_SECONDS
    while time.monotonic() < deadline:
        try:
            os.kill(-1, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return
        time.sleep(0.005)


def _counters() -> dict[str, int]:
    return {name: _counted(files) for name, files in COUNTERS.items()}


def _counted(files: Sequence[tuple[str, str]]) -> int:
    """The number behind the word in the first file that is there; 0 where the container sees none."""
    for name, word in files:
        with contextlib.suppress(FileNotFoundError):
            fields = dict(line.split(maxsplit=1) for line in (CGROUP / name).read_text().splitlines())
            return int(fields.get(word, "0"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
