"""Receivers of notices on the loopback interface: an HTTP server and a mail server that keep what they are sent."""

import contextlib
import json
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

__all__ = ["Heard", "http_listener", "mail_listener"]


@dataclass
class Heard:
    """What came; `status` is what the HTTP server answers, `refuse` makes the mail server take nothing."""

    port: int = 0
    bodies: list[Any] = field(default_factory=list)
    status: int = 200
    refuse: bool = False


@contextlib.contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def http_listener() -> Iterator[Heard]:
    """A web server that keeps the JSON of each POST."""
    heard = Heard()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(heard.status)
            self.send_header("location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    heard.port = server.server_address[1]
    with _serving(server):
        yield heard


@contextlib.contextmanager
def mail_listener() -> Iterator[Heard]:
    """A mail server that keeps each message's lines, without encryption."""
    heard = Heard()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            while line := self.rfile.readline():
                word = line.split(maxsplit=1)[0].upper() if line.strip() else b""
                if word == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    lines = iter(self.rfile.readline, b".\r\n")
                    heard.bodies.append("".join(one.decode().replace("\r\n", "\n") for one in lines))
                if word == b"QUIT":
                    self.wfile.write(b"221 bye\r\n")
                    return
                refused = heard.refuse and word == b"RCPT"
                self.wfile.write(b"550 nobody here\r\n" if refused else b"250 well\r\n")

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        heard.port = server.server_address[1]
        with _serving(server):
            yield heard
