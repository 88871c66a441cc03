"""Who is told of an answer, how often, and how one knows that nobody is."""

import asyncio

import pytest

from mlauto.serving.calls import Call, Failure
from mlauto.serving.errors import ModelError
from mlauto.serving.wire.protocol import Answer

ONE = Answer([1])


def test_who_asked_is_told_once() -> None:
    """What comes later is nobody's."""
    told: list[Answer | Failure] = []
    call = Call(b"[{}]", 1, 0.0, told.append)
    assert not call.over

    call.tell(ONE)
    call.tell(ModelError("too late"))

    assert told == [ONE]
    assert call.over


def test_what_fails_while_it_is_told_was_told() -> None:
    """The error is the caller's, who is not told again."""

    def broken(_: Answer | Failure) -> None:
        raise ZeroDivisionError

    call = Call(b"[{}]", 1, 0.0, broken)
    with pytest.raises(ZeroDivisionError):
        call.tell(ONE)

    call.tell(ONE)
    assert call.over


def test_who_waits_gets_a_result_or_an_exception() -> None:
    """The future is done as soon as it is told."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        good, bad = Call(b"[{}]", 1, 0.0), Call(b"[{}]", 1, 0.0)
        answered, failed = good.future(loop), bad.future(loop)
        good.tell(ONE)
        bad.tell(ModelError("broken"))
        assert answered.result() == ONE
        with pytest.raises(ModelError, match="broken"):
            failed.result()

    asyncio.run(scenario())


def test_who_waits_no_longer_is_not_told() -> None:
    """A cancelled future makes the call superfluous, and an answer to it does no harm."""

    async def scenario() -> None:
        call = Call(b"[{}]", 1, 0.0, alone=True)
        future = call.future(asyncio.get_running_loop())
        assert not call.over
        future.cancel()
        assert call.over
        call.tell(ONE)
        assert future.cancelled()

    asyncio.run(scenario())
