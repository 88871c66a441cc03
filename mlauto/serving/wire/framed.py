"""A reply's body that is not JSON, together with the headers that say what it is."""

from collections.abc import Sequence

__all__ = ["Framed"]


class Framed(bytes):
    """The body; `headers` as pairs, the content type among them. It passes wherever a body of JSON does."""

    headers: tuple[tuple[bytes, bytes], ...]

    def __new__(cls, body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> "Framed":
        """Made as a whole: bytes do not change."""
        made = super().__new__(cls, body)
        made.headers = tuple(headers)
        return made

    def lines(self) -> bytes:
        """The headers as they are sent, each with its end."""
        return b"".join([b"%b: %b\r\n" % pair for pair in self.headers])
