"""Tests wait for what they expect to happen, never for a time that should be long enough."""

import asyncio
import time
from collections.abc import Callable

__all__ = ["eventually", "until"]

# Far beyond what any machine takes: it ends a test that would hang, and judges no speed.
SECONDS = 60.0


def eventually(condition: Callable[[], object], what: str = "what the test expects") -> None:
    """Return as soon as the condition holds; fails naming `what` when it does not come to that."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not seen within {SECONDS:g} s: {what}"
        time.sleep(0.005)


async def until(condition: Callable[[], object], what: str = "what the test expects") -> None:
    """As `eventually`, in an event loop that goes on meanwhile."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not seen within {SECONDS:g} s: {what}"
        await asyncio.sleep(0.005)
