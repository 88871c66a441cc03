"""Messages that arrive whole, with descriptors."""

import os
from pathlib import Path

import pytest

from mlauto.serving.processes.mail import LARGEST, Mail, Message, content_of, enclosed


def test_messages_arrive_one_by_one() -> None:
    """In order and whole; None when there is none; what is not said has its default."""
    ours, theirs = Mail.pair()
    order = Message(kind="restart", program="/bin/python", environment={"A": "1"}, ready=[("bikes", "1")])
    ours.send(order)
    ours.send(Message(kind="open"))

    assert theirs.receive() == (
        Message(kind="restart", program="/bin/python", environment={"A": "1"}, ready=[("bikes", "1")]),
        [],
    )
    assert theirs.receive() == (Message(kind="open"), [])
    assert theirs.receive() is None
    for end in (ours, theirs):
        end.close()


def test_a_descriptor_travels_along(tmp_path: Path) -> None:
    """It is the same open file, and no child inherits it."""
    ours, theirs = Mail.pair()
    with (tmp_path / "file").open("wb") as file:
        ours.send(Message(kind="take"), [file.fileno()])
    found = theirs.receive()
    assert found is not None
    (descriptor,) = found[1]
    os.write(descriptor, b"hello")

    assert not os.get_inheritable(descriptor)
    os.close(descriptor)
    assert (tmp_path / "file").read_bytes() == b"hello"
    for end in (ours, theirs):
        end.close()


def test_the_other_ends_end_is_heard() -> None:
    """After what was sent before it."""
    ours, theirs = Mail.pair()
    ours.send(Message(kind="open"))
    ours.close()

    assert theirs.receive() == (Message(kind="open"), [])
    with pytest.raises(EOFError):
        theirs.receive()
    with pytest.raises(OSError, match="Broken pipe"):
        theirs.send(Message(kind="ready"))
    theirs.close()


def test_too_much_is_refused() -> None:
    """It would not arrive whole."""
    ours, theirs = Mail.pair()
    with pytest.raises(OSError, match="too large"):
        ours.send(Message(kind="failed", problem="x" * LARGEST))
    for end in (ours, theirs):
        end.close()


def test_an_inherited_end_goes_no_further() -> None:
    """Whoever inherits one by `exec` does not hand it to children of its own."""
    ours, theirs = Mail.pair()
    number = os.dup(theirs.fileno())
    os.set_inheritable(number, True)
    again = Mail.inherited(number)
    ours.send(Message(kind="lead"))

    assert not os.get_inheritable(number)
    assert again.receive() == (Message(kind="lead"), [])
    for end in (ours, theirs, again):
        end.close()


def test_what_is_enclosed_may_be_large_and_read_by_several() -> None:
    """A message holds 128 kB at most, what goes with it any number."""
    ours, theirs = Mail.pair()
    content = b"x" * (4 * LARGEST)
    descriptor = enclosed(content)
    for number in (1, 2):
        ours.send(Message(kind="view", number=number), [descriptor])
    os.close(descriptor)
    for number in (1, 2):
        found = theirs.receive()
        assert found is not None
        assert found[0] == Message(kind="view", number=number)
        assert content_of(found[1][0]) == content
        os.close(found[1][0])
    for end in (ours, theirs):
        end.close()
