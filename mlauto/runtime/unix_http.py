"""HTTP over a unix socket, for processes that ask one thing and go."""

import socket
from http.client import HTTPConnection
from pathlib import Path

from mlauto.serving.web.sockets import short_path

__all__ = ["Connection"]


class Connection(HTTPConnection):
    """One connection, to be closed. Not httpx: it leaves its socket open where nobody listens any more."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("mlauto", timeout=seconds)
        self.path = path

    def connect(self) -> None:
        """Connect to the path, of whatever length. Raises `OSError`."""
        found = socket.socket(socket.AF_UNIX)
        try:
            found.settimeout(self.timeout)
            with short_path(self.path) as name:
                found.connect(name)
        except OSError:
            found.close()
            raise
        self.sock = found
