"""A server's connections, given away to another process or taken over from one. No connection is closed by that.

Those that are idle go with whatever their clients send meanwhile, the others after the reply that they wait for.
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Coroutine
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from mlauto.serving.web.front import Front

if TYPE_CHECKING:
    import uvicorn

__all__ = ["DRAIN_SECONDS", "Handover"]

DRAIN_SECONDS = 30.0  # so long a process that was replaced answers what it has begun
LOOK_SECONDS = 0.02


class Handover:
    """The connections of one server, which has started."""

    def __init__(self, public: "uvicorn.Server") -> None:
        self.left = asyncio.Event()  # no new request begins here any more
        self._public = public
        self._to: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def leaving(self) -> bool:
        """Whether `leave` was called."""
        return self._to is not None

    def leave(self, to: socket.socket) -> asyncio.Task[None] | None:
        """Accept nothing more, and give every connection away through `to` or answer what is begun on it.

        Returns the task of that; None the second time, which only gives it another way out.
        """
        again = self.leaving
        to.setblocking(False)
        self._to = to
        return None if again else self._later(self._leave())

    async def _leave(self) -> None:
        for listener in self._public.servers:
            listener.close()
        deadline = time.monotonic() + DRAIN_SECONDS
        departing: set[Front] = set()
        while self._connections() and time.monotonic() < deadline:
            for connection in self._connections() - departing:
                departing.add(connection)
                connection.depart(self._give)
            self.left.set()
            await asyncio.sleep(LOOK_SECONDS)
        self.left.set()

    def _connections(self) -> set[Front]:
        return set(self._public.server_state.connections)

    def _give(self, descriptor: int) -> bool:
        """Send a connection to the successor; False while it cannot take one, or until there is another."""
        if self._to is None:
            return False
        try:
            socket.send_fds(self._to, [b"connection"], [descriptor])
        except OSError:
            return False
        return True

    @property
    def number(self) -> int:
        """Connections that are open now."""
        return len(self._public.server_state.connections)

    def share(self, number: int, place: Callable[[int], bool]) -> None:
        """Give so many connections away, each as soon as no request is begun on it; `place` sends it."""
        for connection in islice(self._connections(), number):
            connection.depart(partial(self._place, place))

    def _place(self, place: Callable[[int], bool], descriptor: int) -> bool:
        if not place(descriptor):  # it goes on here after all
            self.adopt(os.dup(descriptor))
        return True

    def take(self, end: socket.socket, place: Callable[[int], bool]) -> None:
        """Go on with the connections that come through `end`, but for those that `place` sent elsewhere."""
        end.setblocking(False)
        loop = asyncio.get_running_loop()

        def take() -> None:
            try:
                while True:
                    content, descriptors, _, _ = socket.recv_fds(end, 64, 1)
                    for descriptor in descriptors:
                        if place(descriptor):
                            os.close(descriptor)
                        else:
                            self.adopt(descriptor)
                    if not content:
                        break
            except BlockingIOError:
                return
            except ConnectionResetError:
                pass
            loop.remove_reader(end.fileno())
            end.close()

        loop.add_reader(end.fileno(), take)

    def adopt(self, descriptor: int) -> None:
        """Go on with that connection, soon; the successor does, where there is one."""
        if self.leaving and self._give(descriptor):
            os.close(descriptor)
            return
        self._later(self._adopt(socket.socket(fileno=descriptor)))

    async def _adopt(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        os.set_inheritable(connection.fileno(), False)
        config, loop = self._public.config, asyncio.get_running_loop()
        make = partial(
            config.http_protocol_class,
            config=config,
            server_state=self._public.server_state,
            app_state=self._public.lifespan.state,
            _loop=loop,
        )
        await loop.connect_accepted_socket(make, connection)

    def _later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
