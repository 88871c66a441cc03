"""Asks the model server of this container for a sign of life, and ends one that hangs: then the engine restarts it.

`python -m mlauto.serving.health SOCKET`; exit code 0 when it answers. A server that nobody can connect to is starting,
or ends by itself, and is left alone. Attempts are counted, not timed: who was suspended blames nobody. It imports next
to nothing, because the engine runs it every few seconds.
"""

import os
import signal
import socket
import struct
import sys

__all__ = ["main"]

ATTEMPTS = 4
SECONDS = 2.0  # for each
REQUEST = b"GET /v2/health/live HTTP/1.1\r\nhost: model\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


def main(argv: list[str] | None = None, *, attempts: int = ATTEMPTS, seconds: float = SECONDS) -> int:
    """Ask up to `attempts` times; a server that accepted each time and never answered is killed."""
    (path,) = sys.argv[1:] if argv is None else argv
    listening = set()
    for _ in range(attempts):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(seconds)
            try:
                probe.connect(path)
                listening.add(_listener(probe))
                probe.sendall(REQUEST)
                answer = probe.recv(64)
            except TimeoutError:
                continue
            except OSError as error:
                print(f"{path}: {error.strerror or error}")
                return 1
        if answer.startswith(b"HTTP/1.1 200 "):
            return 0
        print(f"{path} answers {answer[:32]!r}")
        return 1
    if len(listening) == 1:  # the same process all the time
        os.kill(listening.pop(), signal.SIGKILL)
    print(f"{path}: no sign of life for {attempts * seconds:g} s")
    return 1


def _listener(connected: socket.socket) -> int:
    """The process that listens at the other end, also where it is stopped."""
    found = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    return int(CREDENTIALS.unpack(found)[0])


if __name__ == "__main__":
    sys.exit(main())
