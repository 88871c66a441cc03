"""The gateway's process: owns the port, runs the model servers, goes on where its predecessor was killed.

`python -m mlauto.serving.gateway --home MLAUTO_HOME --host HOST --port PORT [--detach]`

With `--detach` the command returns as soon as the port is bound, and the gateway goes on in a process that is nobody's
child. A parent keeps the lock and the port, and replaces the gateway when it is killed (see `guardian`). Exit codes: 0
after SIGTERM or SIGINT, when requests in flight were answered; 3 when another gateway runs for the same home; 1 when
the port is taken or the state file cannot be read.
"""

import argparse
import asyncio
import fcntl
import gc
import os
import signal
import socket
import sys
from functools import partial
from pathlib import Path

import msgspec

from mlauto.serving.control import ControlApp
from mlauto.serving.errors import StateError
from mlauto.serving.metrics import Metrics
from mlauto.serving.processes.flock import Flock
from mlauto.serving.processes.follower import answering, follow
from mlauto.serving.processes.forks import Inherited
from mlauto.serving.processes.forkserver import ForkServer
from mlauto.serving.processes.guardian import guarded
from mlauto.serving.processes.handover import Handover
from mlauto.serving.processes.mail import Mail
from mlauto.serving.processes.others import Alone
from mlauto.serving.processes.takeover import Orders, Takeover
from mlauto.serving.processes.workers import workers
from mlauto.serving.supervisor import Supervisor
from mlauto.serving.web.http import server
from mlauto.serving.web.sockets import listen_tcp, listen_unix

__all__ = ["locked", "main", "run"]

ALREADY_RUNNING = 3
START_POLL_SECONDS = 0.002
FOLLOWERS_SECONDS = 5.0  # so long the successor of a gateway waits for its followers before it answers all users
Followers = tuple[ForkServer, int]


def locked(path: Path) -> int | None:
    """A descriptor that holds the lock on the pid file until this process ends; None when another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    _write_pid(descriptor)
    return descriptor


def _write_pid(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _detach(lock: int) -> None:
    """Go on in a child of its own session, with the lock and the bound port; this process ends with code 0."""
    if os.fork() != 0:
        os._exit(0)
    os.setsid()
    _write_pid(lock)


async def run(
    home: Path,
    public_socket: socket.socket,
    mail: Mail | None = None,
    *,
    heir: bool = False,
    followers: Followers | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT: stop accepting, answer what is in flight, end the model servers.

    A guardian at the other end of `mail` may put another process in this one's place. An `heir` is that other one: it
    serves when it is told to, and ends when what ran before cannot be started again. Others answer users beside this
    process where there are to be `followers`.
    """
    host, port = public_socket.getsockname()[:2]
    supervisor = Supervisor(home / "gateway")
    metrics = Metrics()
    others = Flock(*followers, supervisor, metrics) if followers else Alone(metrics)
    supervisor.others = others
    takeover = Takeover(supervisor, Orders(open=mail is None), mail)
    public = answering(supervisor, metrics, home, others)
    control = server(ControlApp(supervisor, takeover, host=host, port=port))
    control_path = home / "gateway" / "control.sock"
    loop = asyncio.get_running_loop()

    def stop() -> None:
        public.should_exit = control.should_exit = True
        others.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    gc.collect()
    gc.freeze()  # what was imported stays: looking through it again and again would only keep requests waiting
    supervisor.resume()
    bound = False
    try:
        if heir and not await takeover.inherit():
            return
        print(f"gateway {os.getpid()} on {host}:{port}, home {home}", flush=True)
        serving = [(public, public_socket), (control, listen_unix(control_path))]
        bound = True
        tasks = [asyncio.create_task(one.serve(sockets=[listener])) for one, listener in serving]
        while not (public.started and control.started) and not any(task.done() for task in tasks):
            await asyncio.sleep(START_POLL_SECONDS)
        handover = Handover(public)
        others.begin(takeover.renew, handover)
        if heir:  # they go on with their part of the connections
            await others.complete(FOLLOWERS_SECONDS)
        takeover.leading(handover)
        await asyncio.gather(*tasks)
    finally:
        if bound and not takeover.retired:  # the path is another process's otherwise
            control_path.unlink(missing_ok=True)
        await others.gone()
        await supervisor.shut_down()
        print(f"gateway {os.getpid()} ended", flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run a gateway; see the module's docstring for the exit codes."""
    parser = argparse.ArgumentParser(prog="python -m mlauto.serving.gateway", description="Serve all live versions.")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--detach", action="store_true")
    parser.add_argument("--inherited", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    home = options.home.resolve()
    command = ["-m", "mlauto.serving.gateway", "--home", str(home), "--host", options.host, "--port", str(options.port)]
    if options.inherited:
        return _go_on(home, command, msgspec.json.decode(options.inherited, type=Inherited))
    lock = locked(home / "gateway" / "pid")
    if lock is None:
        print(f"another gateway runs for {home}", file=sys.stderr)
        return ALREADY_RUNNING
    try:
        public_socket = listen_tcp(options.host, options.port)
    except OSError as error:
        hint = "stop what listens there, or set MLAUTO_GATEWAY_PORT"
        print(f"the gateway cannot listen on {options.host}:{options.port} ({error.strerror}): {hint}", file=sys.stderr)
        return 1
    if options.detach:
        _detach(lock)
    try:
        kept = {"lock": lock, "socket": public_socket.fileno()}
        return guarded(lambda mail: _serve(home, public_socket, mail), command, kept)
    finally:
        public_socket.close()


def _go_on(home: Path, command: list[str], inherited: Inherited) -> int:
    """Take the place of a process, or of a guardian, of older code or other settings."""
    for descriptor in inherited.kept.values():
        os.set_inheritable(descriptor, False)
    with socket.socket(fileno=inherited.kept["socket"]) as public_socket:
        if inherited.role == "successor":
            return _serve(home, public_socket, Mail.inherited(inherited.mail), heir=True)
        return guarded(lambda mail: _serve(home, public_socket, mail), command, inherited.kept, inherited)


def _serve(home: Path, public_socket: socket.socket, mail: Mail, *, heir: bool = False) -> int:
    import uvloop

    try:
        wanted = workers() - 1
        followers = None
        if wanted:
            work = partial(follow, home, public_socket)
            followers = ForkServer(work, [public_socket.fileno()]), wanted
        uvloop.run(run(home, public_socket, mail, heir=heir, followers=followers))
    except StateError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
