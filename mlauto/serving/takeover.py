"""A gateway's process in a restart: how it hands its connections over and ends, or waits and takes them over.

See `mail` for what is said, and `guardian` for who says it. No connection is closed: those that are idle go to the
successor with whatever their clients send meanwhile, the others after the reply that they wait for.
"""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from mlauto.serving.errors import ControlError, UnavailableError
from mlauto.serving.front import Front
from mlauto.serving.mail import NEWS, Mail, Message
from mlauto.serving.supervisor import Supervisor

if TYPE_CHECKING:
    import uvicorn

__all__ = ["Orders", "Takeover"]

ORDER_SECONDS = 90.0  # so long a restart waits for orders that are being followed
DRAIN_SECONDS = 30.0  # so long a process that was replaced answers what it has begun
LINGER_SECONDS = 0.3  # so long it takes orders from its socket, for clients that connected just before
LOOK_SECONDS = 0.02
POLL_SECONDS = 0.005


class Orders:
    """Which orders may change what runs: all of them, or none while a restart is under way."""

    def __init__(self, *, open: bool = True) -> None:  # noqa: A002 -- what `open` is about is said by the class
        self.open = open
        self._followed = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Follow an order within the block. Raises `UnavailableError` while none may be."""
        if not self.open:
            raise UnavailableError("the gateway is being restarted: give the order again in a moment")
        self._followed += 1
        try:
            yield
        finally:
            self._followed -= 1

    async def close(self) -> None:
        """Take no more orders, and return when none is being followed. Raises `ControlError`, and takes them again."""
        self.open = False
        deadline = time.monotonic() + ORDER_SECONDS
        while self._followed:
            if time.monotonic() > deadline:
                self.open = True
                raise ControlError(f"an order is still being followed after {ORDER_SECONDS:.0f} s: restart later")
            await asyncio.sleep(LOOK_SECONDS)


class Takeover:
    """The part of the process that it is in. To be used from one event loop."""

    def __init__(self, supervisor: Supervisor, orders: Orders, mail: Mail | None) -> None:
        """Without `mail` nobody can put another process in this one's place."""
        self.orders = orders
        self.retired = False
        self._supervisor = supervisor
        self._mail = mail
        self._public: uvicorn.Server
        self._answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._lead = asyncio.Event()
        self._to: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        if mail is not None:
            self._hear(mail)
            asyncio.get_running_loop().add_reader(mail.fileno(), self._hear, mail)

    async def ask(self, program: str = "", environment: dict[str, str] | None = None) -> int:
        """Have another process in this one's place; its pid, when it answers users and this one is about to end.

        Raises `ControlError` when that did not happen: then this one goes on, and takes orders again.
        """
        if self._mail is None:
            raise ControlError("this gateway has no guardian, which could restart it: stop it and start another")
        if not self.orders.open:
            raise ControlError("a restart is under way already: come again in a moment")
        await self.orders.close()
        self._answer = asyncio.get_running_loop().create_future()
        order = Message(kind="restart", program=program, environment=environment, ready=self._supervisor.ready())
        self._tell(order)
        answer = await self._answer
        if answer.kind == "stay":
            self.orders.open = True
            raise ControlError(f"the gateway was not restarted, and goes on as before: {answer.problem}", 502)
        return answer.pid

    async def inherit(self) -> bool:
        """Wait until everything is ready that was, and until it is time to answer users; False if it will not be."""
        problem = await self._supervisor.ready_again((await self._answer).ready)
        if problem:
            self._tell(Message(kind="failed", problem=problem))
            return False
        self._tell(Message(kind="ready"))
        await self._lead.wait()
        return True

    def leading(self, public: "uvicorn.Server") -> None:
        """Users and orders reach this process from now on."""
        self._public = public
        self._tell(Message(kind="leading"))

    def _tell(self, message: Message) -> None:
        if self._mail is not None:
            self._mail.send(message)
            os.kill(os.getppid(), NEWS)

    def _hear(self, mail: Mail) -> None:
        try:
            while (found := mail.receive()) is not None:
                self._follow(*found)
        except EOFError:  # the guardian is gone, and so is this process in a moment
            asyncio.get_running_loop().remove_reader(mail.fileno())

    def _follow(self, message: Message, descriptors: list[int]) -> None:
        sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        if message.kind == "retire":
            self._to = sockets.pop()
            self._to.setblocking(False)
            if not self.retired:
                self.retired = True
                self._later(self._retire())
        elif message.kind == "take":
            self._take_from(sockets.pop())
        elif message.kind == "open":
            self.orders.open = True
        elif message.kind == "lead":
            self._lead.set()
        elif message.kind == "ask":
            self._later(self._asked())
        if message.kind in ("stay", "retire", "heir") and not self._answer.done():
            self._answer.set_result(message)
        for unused in sockets:
            unused.close()

    async def _asked(self) -> None:
        """A restart that nobody waits for: the guardian writes what became of it into the log."""
        with suppress(ControlError):
            await self.ask()

    async def _retire(self) -> None:
        """Accept nothing more, give every connection away or answer what is begun on it, and end."""
        for listener in self._public.servers:
            listener.close()
        told = False
        deadline = time.monotonic() + DRAIN_SECONDS
        departing: set[Front] = set()
        while self._connections() and time.monotonic() < deadline:
            for connection in self._connections() - departing:
                departing.add(connection)
                connection.depart(self._give)
            if not told:
                self._tell(Message(kind="retired"))
                told = True
            await asyncio.sleep(LOOK_SECONDS)
        if not told:
            self._tell(Message(kind="retired"))
        await asyncio.sleep(LINGER_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

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

    def _take_from(self, end: socket.socket) -> None:
        end.setblocking(False)
        loop = asyncio.get_running_loop()

        def take() -> None:
            try:
                while True:
                    content, descriptors, _, _ = socket.recv_fds(end, 64, 1)
                    for descriptor in descriptors:
                        self._later(self._adopt(socket.socket(fileno=descriptor)))
                    if not content:
                        break
            except BlockingIOError:
                return
            except ConnectionResetError:
                pass
            loop.remove_reader(end.fileno())
            end.close()

        loop.add_reader(end.fileno(), take)

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

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
