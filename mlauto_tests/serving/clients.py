"""Clients that ask for predictions over kept connections, note who answered, and open another one when one is reset."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from mlauto_tests.serving.conftest import ROW, eventually

PATH = "/v2/models/bikes/invocations"
BODY = json.dumps({"dataframe_records": [ROW]}).encode()


def request(body: bytes = BODY, path: str = PATH) -> bytes:
    """A prediction's request as bytes."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@dataclass(frozen=True)
class Answer:
    """One reply: when its request began (monotonic), and what its head says."""

    began: float
    status: int
    version: str
    id: str

    @property
    def process(self) -> str:
        """Each process that answers has a segment of the prediction log of its own."""
        return self.id[:8]


@dataclass
class Clients:
    """So many connections, busy until they are stopped; a request whose connection was reset is sent once more."""

    port: int
    number: int = 12
    answers: list[Answer] = field(default_factory=list)
    resets: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def failures(self) -> list[Answer]:
        """Replies that are no prediction."""
        return [answer for answer in self.answers if answer.status != 200]

    def run(self) -> None:
        asyncio.run(self._all())

    async def _all(self) -> None:
        await asyncio.gather(*(self._one() for _ in range(self.number)))

    async def _one(self) -> None:
        while not self.stopping.is_set():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                with closing(writer):
                    while not self.stopping.is_set():
                        self.answers.append(await ask(reader, writer))
                        await asyncio.sleep(0.002)
            except (OSError, EOFError):
                self.resets += 1

    def more(self, count: int = 100) -> None:
        """Wait for so many more answers."""
        wanted = len(self.answers) + count
        eventually(lambda: len(self.answers) >= wanted, f"{count} more answers")


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes = request()) -> Answer:
    """One request on that connection. Raises `OSError` or `EOFError` when the connection ends before the reply does."""
    began = time.monotonic()
    writer.write(message)
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    lines = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
    await reader.readexactly(int(lines["content-length"]))
    said = lines.get("x-mlauto-version", ""), lines.get("x-prediction-id", "")
    return Answer(began, int(head.split()[1]), *said)


@contextmanager
def clients(port: int, number: int = 12) -> Iterator[Clients]:
    """Clients that are busy within the block."""
    found = Clients(port, number)
    thread = threading.Thread(target=found.run)
    thread.start()
    try:
        yield found
    finally:
        found.stopping.set()
        thread.join()
