"""Copies of users' requests for a version that answers nobody: after the user's reply, bounded, logged on their own."""

import asyncio
import time
from typing import NamedTuple

from mlauto.serving.attempts import Parse
from mlauto.serving.backend import Backend
from mlauto.serving.errors import ServingError
from mlauto.serving.log.journal import Journal
from mlauto.serving.web.link import LinkError
from mlauto.serving.wire.labelkeys import parted
from mlauto.serving.wire.protocol import Answer
from mlauto.serving.wire.signature import Signature

__all__ = ["Copied", "Shadows"]

# Of all products together; what comes while so many are on their way is not copied.
MOST_COPIES = 64
MOST_BYTES = 16 << 20


class Copied(NamedTuple):
    """What a shadow needs of a request that was answered: `rows` as JSON, in the answering version's signature."""

    prediction_id: str
    body: bytes
    parse: Parse
    signature: Signature
    rows: bytes
    number: int


class Shadows:
    """The copies on their way."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, product: str, shadow: Backend, copied: Copied) -> None:
        """Ask the shadow soon, unless it is not ready or has too much to do: then the copy is dropped and counted.

        The task begins only after whoever called has sent the user's reply.
        """
        size = len(copied.body) + len(copied.rows)
        if shadow.state != "ready" or len(self._tasks) >= MOST_COPIES or self._bytes + size > MOST_BYTES:
            self._journal.metrics.shadows[product, shadow.version, "dropped"] += 1
            return
        self._bytes += size
        task = asyncio.get_running_loop().create_task(self._ask(product, shadow, copied, size))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, product: str, shadow: Backend, copied: Copied, size: int) -> None:
        began = time.monotonic()
        said: Answer | Exception
        try:
            rows = copied.rows
            if shadow.signature is not None and shadow.signature != copied.signature:
                _, rows = parted(copied.parse(copied.body, shadow.signature), shadow.signature)
            said = await shadow.ask(rows, copied.number)
        except (ServingError, LinkError) as error:
            said = error
        finally:
            self._bytes -= size
        self._journal.shadowed(product, shadow.version, copied.prediction_id, time.monotonic() - began, said)
