"""Finding a running Dagster UI and having it reload, against a server that answers as Dagster does."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from mlauto.commands.loop import free_port
from mlauto.commands.ui import Reload, next_step, note_address, reload_products
from mlauto.settings import Settings

LOADED = {"__typename": "WorkspaceLocationEntry", "locationOrLoadError": {"__typename": "RepositoryLocation"}}
BROKEN = {
    "__typename": "WorkspaceLocationEntry",
    "locationOrLoadError": {"__typename": "PythonError", "message": "defs.yaml:3:\n  no such key"},
}


@contextmanager
def ui(answer: object) -> Iterator[str]:
    """A UI that gives one answer to every question; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            said = answer if "reloadRepositoryLocation" in asked["query"] and self.path == "/graphql" else {}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("found", "problem", "said"),
    [
        (LOADED, None, "has it already; `mlauto status bike` shows"),
        (BROKEN, "defs.yaml:3: no such key", "cannot load its products: defs.yaml:3: no such key"),
        (
            {"__typename": "RepositoryLocationNotFound"},
            "it answers RepositoryLocationNotFound",
            "answers RepositoryLocationNotFound",
        ),
    ],
)
def test_a_running_ui_is_told(settings: Settings, found: object, problem: str | None, said: str) -> None:
    """It reloads, or says what keeps it from that."""
    with ui({"data": {"reloadRepositoryLocation": found}}) as url:
        note_address(settings, url)

        assert reload_products(settings) == Reload(url=url, problem=problem)
        assert said in next_step(settings, "bike")
        assert url in next_step(settings, "bike")


@pytest.mark.parametrize("answer", [{"errors": ["no such field"]}, {"data": None}, [], "hello"])
def test_something_else_on_that_port_is_no_ui(settings: Settings, answer: object) -> None:
    """The address may be an old one, and anything may listen there by now."""
    with ui(answer) as url:
        note_address(settings, url)

        assert reload_products(settings) is None


def test_no_ui_is_the_usual_case(settings: Settings) -> None:
    """Never started, or ended: the next step is to start it."""
    assert reload_products(settings) is None
    note_address(settings, f"http://127.0.0.1:{free_port()}")
    assert reload_products(settings) is None

    assert "`mlauto dev` runs the loop" in next_step(settings, "bike")
