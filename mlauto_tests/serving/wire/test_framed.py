"""Bodies that are not JSON."""

from mlauto.serving.wire.framed import Framed


def test_it_is_its_bytes_with_headers() -> None:
    """It passes wherever bytes do, and says what it is."""
    body = Framed(b"abc", [(b"content-type", b"a/b"), (b"x", b"1")])

    assert body == b"abc"
    assert b"%b" % body == b"abc"
    assert body.headers == ((b"content-type", b"a/b"), (b"x", b"1"))
    assert body.lines() == b"content-type: a/b\r\nx: 1\r\n"
