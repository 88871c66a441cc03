"""`mlauto dev`: the Dagster UI on the loopback interface, with the sensors running."""

import os
import signal
import socket
import sys
from contextlib import closing

import click

from mlauto.commands.example import PRODUCT, make_example
from mlauto.commands.gateway import gateway_state
from mlauto.commands.loop import dagster_environment
from mlauto.commands.ui import note_address
from mlauto.errors import MlautoError
from mlauto.settings import PACKAGE, Settings

__all__ = ["run_dev"]


def run_dev(settings: Settings, host: str = "127.0.0.1", port: int = 3000) -> None:
    """Become `dagster dev` for this project; does not return. The shipped example gets what it needs to run, once.

    Raises `MlautoError` when the port is taken, or that of the gateway by something else.
    """
    _require_free("the UI", host, port, f"choose another port with `mlauto dev --port {port % 65535 + 1}`")
    if not gateway_state(settings).running:
        _require_free("the gateway", settings.gateway_host, settings.gateway_port, "set MLAUTO_GATEWAY_PORT")
    made = make_example(settings)
    note_address(settings, f"http://{host}:{port}")
    click.echo(_greeting(settings, host, port, made=made))
    sys.stdout.flush()
    # A shell without job control has its background processes ignore Ctrl-C; Dagster would then ignore TERM as well.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # -W: `dagster dev` recommends `dg dev`, which has no choice of a workspace
    python = [sys.executable, "-W", "ignore:Function `dev_command` is superseded", "-m", "dagster"]
    options = ["-w", str(PACKAGE.parent / "workspace.yaml"), "-h", host, "-p", str(port), "--log-level", "warning"]
    os.chdir(PACKAGE.parent)
    os.execve(python[0], [*python, "dev", *options], dagster_environment(settings))  # noqa: S606 -- no shell is meant


def _require_free(what: str, host: str, port: int, otherwise: str) -> None:
    with closing(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise MlautoError(
                f"{what} cannot listen on {host}:{port} ({error.strerror}): end what does, or {otherwise}"
            ) from error


def _greeting(settings: Settings, host: str, port: int, *, made: bool) -> str:
    lines = [
        f"Dagster UI    http://{host}:{port} in a few seconds; only warnings and errors are printed here",
        f"live models   {settings.gateway_url}; they go on after Ctrl-C, until `mlauto gateway stop`",
        "what happens  `mlauto status`, in another terminal",
    ]
    if made:
        lines.append(f"example       the first model of product {PRODUCT!r} is live in half a minute")
    return "\n".join(lines)
