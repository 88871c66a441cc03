"""A head that came before means the same again, and nothing else does."""

import pytest

from mlauto.serving.web import heads as module
from mlauto.serving.web.heads import Heads

HEAD = b"POST /a HTTP/1.1\r\ncontent-length: 3\r\n\r\n"


def test_a_known_head_tells_address_and_body() -> None:
    """Whatever the body is."""
    heads = Heads()
    assert heads.find(HEAD + b"one") is None

    heads.learn(HEAD + b"one", b"/a", 3)

    assert heads.find(HEAD + b"two") == (b"/a", b"two")
    assert heads.find(HEAD + b"\r\n\r") == (b"/a", b"\r\n\r")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        HEAD,
        HEAD[:-1],
        HEAD + b"on",
        HEAD + b"one" + HEAD + b"two",
        HEAD.replace(b"/a", b"/b") + b"one",
        b"\r\n" + HEAD + b"one",
        HEAD.replace(b"3", b"4") + b"four",
    ],
)
def test_whatever_else_it_is_is_for_the_parser(data: bytes) -> None:
    """Parts of a request, several, and other heads."""
    heads = Heads()
    heads.learn(HEAD + b"one", b"/a", 3)

    assert heads.find(data) is None


@pytest.mark.parametrize(
    ("data", "body"),
    [(HEAD + b"one" + HEAD + b"two", 3), (b"\r\n\r\n" + HEAD + b"one", 3), (HEAD + b"on", 3), (HEAD, 3)],
)
def test_only_what_is_one_whole_request_is_learned(data: bytes, body: int) -> None:
    """The parser may have found more in a piece than its head and its body."""
    heads = Heads()

    heads.learn(data, b"/a", body)

    for piece in (data, HEAD + b"one"):
        assert heads.find(piece) is None


def test_heads_do_not_fill_the_memory() -> None:
    """A long one is not kept, and when there are too many the newest stay."""
    heads = Heads()
    long = b"POST /a HTTP/1.1\r\nx: %b\r\n\r\n" % (b"y" * module.LONGEST)
    heads.learn(long, b"/a", 0)
    assert heads.find(long) is None

    every = [b"POST /%d HTTP/1.1\r\n\r\n" % number for number in range(module.MOST + 1)]
    for head in every:
        heads.learn(head, b"/", 0)

    assert [heads.find(head) for head in (every[0], every[-1])] == [None, (b"/", b"")]
