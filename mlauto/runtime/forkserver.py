"""The process behind `mlauto.runtime.warm`: it imports libraries once and forks a child for each request.

A child runs a module as `python -m module argument...` would, with the environment, directory and output of the
request. The server never computes and has one thread, so forking it is safe. It lives as long as the pipe on its
standard input, and then only until the last child that somebody waits for has ended; detached children outlive it.

Protocol, one request per connection: a JSON object with the standard-output descriptor attached (SCM_RIGHTS), answered
by the lines `{"pid": n}` and, when the child has ended, `{"exit": code}` (-n when signal n ended it). A child's whole
process group is killed when it ends, and when its client hangs up early, unless the request says `detached`.
"""

import contextlib
import fcntl
import gc
import io
import json
import os
import random
import runpy
import selectors
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from mlauto.errors import MlautoError
from mlauto.serving.web.sockets import listen_unix

__all__ = ["Request", "send", "serve"]

REQUEST_LIMIT = 1 << 20
PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class Request:
    """`python -m module arguments...` in directory `cwd` with the environment `env`, all of it."""

    module: str
    arguments: list[str]
    cwd: str
    env: dict[str, str]
    detached: bool


def send(connection: socket.socket, request: Request, output: int) -> None:
    """Ask for a child whose standard output and error is the descriptor `output`. Raises `MlautoError` if too large."""
    line = json.dumps(asdict(request)).encode() + b"\n"
    if len(line) > REQUEST_LIMIT:
        raise MlautoError(f"the arguments of {request.module} are larger than {REQUEST_LIMIT} bytes")
    socket.send_fds(connection, [line[:1]], [output])
    connection.sendall(line[1:])


def serve(address: Path, modules: Sequence[str], libraries: Sequence[str]) -> None:
    """Import `modules`, listen on `address`, then import the libraries; until standard input ends.

    Returns at once when another process serves that address.
    """
    with address.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        # numeric libraries start their threads when they are first imported; a forking parent must have none
        os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
        for module in modules:
            import_module(module)
        _Server(address, libraries, lock.fileno()).loop(sys.stdin.fileno())


class _Server:
    """The listening side: one thread, a fork for each request."""

    def __init__(self, address: Path, libraries: Sequence[str], lock: int) -> None:
        self.libraries = deque(libraries)
        self.lock = lock
        self.children: dict[int, socket.socket] = {}  # those that somebody waits for
        self.selector = selectors.DefaultSelector()
        self.listener = listen_unix(address)
        self.listener.setblocking(True)
        self.listener.listen(64)
        self.wakeup, self.poke = socket.socketpair()
        self.poke.setblocking(False)

    def loop(self, lifeline: int) -> None:
        """Serve until the lifeline (a pipe) reaches its end; import what is left of the libraries in quiet moments."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.poke.fileno())
        for source in (self.listener, self.wakeup, lifeline):
            self.selector.register(source, selectors.EVENT_READ)
        serving = True
        while serving or self.children:
            ready = self.selector.select(timeout=0 if self.libraries else None)
            if not ready:
                self._import_next()
            for key, _ in ready:
                if key.fileobj == lifeline:
                    if serving and not os.read(lifeline, 1):
                        serving = False
                        self._retire(lifeline)
                elif key.fileobj is self.wakeup:
                    self.wakeup.recv(4096)
                    self._reap()
                elif key.fileobj is self.listener:
                    if serving:
                        self._accept()
                else:
                    self._hang_up(int(key.data))

    def _retire(self, lifeline: int) -> None:
        """Accept nothing more, so that a successor can take the address."""
        self.libraries.clear()
        self.selector.unregister(lifeline)
        self.selector.unregister(self.listener)
        self.listener.close()
        fcntl.flock(self.lock, fcntl.LOCK_UN)

    def _import_next(self) -> None:
        library = self.libraries.popleft()
        try:
            import_module(library)
        except ImportError as error:  # whoever needs it says so himself
            print(f"{library} is not imported in advance: {error}", file=sys.stderr, flush=True)
        if not self.libraries:
            if threading.active_count() > 1:
                print(f"a library started threads: {threading.enumerate()}", file=sys.stderr, flush=True)
            gc.collect()
            gc.freeze()

    def _accept(self) -> None:
        connection, _ = self.listener.accept()
        connection.settimeout(PATIENCE_SECONDS)
        try:
            request, output = _receive(connection)
        except (TimeoutError, ConnectionError, ValueError, TypeError):
            connection.close()  # a probe that only asked whether anybody listens, or not our protocol
            return
        pid = os.fork()
        if pid == 0:
            _become(request, output, lambda: self._forget(connection))
        os.close(output)
        with contextlib.suppress(OSError):
            connection.sendall(json.dumps({"pid": pid}).encode() + b"\n")
        if request.detached:
            connection.close()
        else:
            self.children[pid] = connection
            self.selector.register(connection, selectors.EVENT_READ, pid)

    def _forget(self, connection: socket.socket) -> None:
        """In a child: close everything of the server's, or others would wait for this child's end too."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.selector.close()
        for inherited in (connection, self.listener, self.wakeup, self.poke, *self.children.values()):
            inherited.close()
        os.close(self.lock)

    def _reap(self) -> None:
        while ended := _ended_child():
            connection = self.children.pop(ended, None)
            if connection is not None:
                _kill_group(ended)  # before its number is free again
            _, status = os.waitpid(ended, 0)
            if connection is not None:
                with contextlib.suppress(KeyError):  # hung up already
                    self.selector.unregister(connection)
                with contextlib.suppress(OSError):
                    connection.sendall(json.dumps({"exit": os.waitstatus_to_exitcode(status)}).encode() + b"\n")
                connection.close()

    def _hang_up(self, pid: int) -> None:
        """The client wants no more: kill the child; its end is reported if the client still listens."""
        if pid in self.children:
            self.selector.unregister(self.children[pid])
            _kill_group(pid)


def _ended_child() -> int | None:
    """A child that has ended and was not waited for."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return found.si_pid if found else None


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            os.kill(pid, signal.SIGKILL)  # it has no group of its own yet


def _receive(connection: socket.socket) -> tuple[Request, int]:
    first, descriptors, _, _ = socket.recv_fds(connection, 1, 1)
    if len(descriptors) != 1:
        raise ValueError("a request carries exactly one descriptor")
    try:
        line = first + connection.makefile("rb").readline(REQUEST_LIMIT)
        return Request(**json.loads(line)), descriptors[0]
    except (OSError, ValueError, TypeError):
        os.close(descriptors[0])
        raise


def _become(request: Request, output: int, forget: Callable[[], None]) -> NoReturn:
    """Turn this forked child into the process that was asked for; `forget` closes what it inherited."""
    code = 1
    try:
        os.setsid()
        forget()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        os.environ.clear()
        os.environ.update(request.env)
        os.chdir(request.cwd)
        if not sys.flags.safe_path:
            sys.path[0] = request.cwd  # as `python -m` does
        sys.path[1:1] = [p for p in request.env.get("PYTHONPATH", "").split(os.pathsep) if p and p not in sys.path]
        sys.argv = [request.module, *request.arguments]
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)  # the server's own goes to a file, in large blocks
        _reseed()
        gc.unfreeze()
        code = _run_module(request.module)
    finally:
        failure = sys.exc_info()
        if failure[0] is not None:  # what the interpreter does at its top level
            sys.excepthook(*failure)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):  # closed or replaced by the module
                stream.flush()
        os._exit(code)


def _run_module(module: str) -> int:
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return (stop.code or 0) & 0xFF
        print(stop.code, file=sys.stderr)
        return 1
    return 0


def _reseed() -> None:
    """Forked children must not share their parent's random numbers."""
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), *(list(filter(None, names.split(","))) for names in sys.argv[2:4]))
