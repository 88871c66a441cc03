"""Heads of requests that came before: a client sends the same one again and again, and it means the same each time."""

__all__ = ["Heads"]

END = b"\r\n\r\n"
LONGEST = 2048
MOST = 64  # a client may put something new into each head


class Heads:
    """What whole messages begin with: to each head belong its request's address and the length of its body."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[bytes, int]] = {}

    def learn(self, data: bytes, url: bytes, body: int) -> None:
        """`data` began with a request to `url` with so long a body; nothing is kept of data that has more in it."""
        end = data.find(END) + len(END)
        if end <= LONGEST and end + body == len(data):
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[data[:end]] = url, body

    def find(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Address and body where `data` is just one whole request with a known head."""
        end = data.find(END, 0, LONGEST) + len(END)
        known = self._known.get(data[:end])
        if known is None or end + known[1] != len(data):
            return None
        return known[0], data[end:]
