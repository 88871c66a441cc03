"""A gateway's process in a restart: how it hands its connections over and ends, or waits and takes them over.

See `mail` for what is said, `guardian` for who says it, and `handover` for the connections.
"""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from mlauto.serving.errors import ControlError, UnavailableError
from mlauto.serving.processes.handover import Handover
from mlauto.serving.processes.mail import NEWS, Mail, Message
from mlauto.serving.supervisor import Supervisor

__all__ = ["Orders", "Takeover"]

ORDER_SECONDS = 90.0  # so long a restart waits for orders that are being followed
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
        self._others = supervisor.others
        self._handover: Handover
        self._answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._lead = asyncio.Event()
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

    def leading(self, handover: Handover) -> None:
        """Users, over the connections of `handover`, and orders reach this process from now on."""
        self._handover = handover
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
            self.retired = True
            self._others.retire(sockets[-1].fileno())
            leaving = self._handover.leave(sockets.pop())
            if leaving is not None:
                self._later(self._retire(leaving))
        elif message.kind == "take":
            self._handover.take(sockets.pop(), self._others.place)
        elif message.kind == "open":
            self.orders.open = True
        elif message.kind == "lead":
            self._lead.set()
        elif message.kind == "ask":
            self.renew()
        if message.kind in ("stay", "retire", "heir") and not self._answer.done():
            self._answer.set_result(message)
        for unused in sockets:
            unused.close()

    def renew(self) -> None:
        """A restart that nobody waits for: the guardian writes what became of it into the log."""
        self._later(self._asked())

    async def _asked(self) -> None:
        with suppress(ControlError):
            await self.ask()

    async def _retire(self, leaving: asyncio.Task[None]) -> None:
        """End when every connection was given away, or what was begun on it answered; here and at the others."""
        await self._handover.left.wait()
        await self._others.retired()
        self._tell(Message(kind="retired"))
        await leaving
        await self._others.gone()
        await asyncio.sleep(LINGER_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
