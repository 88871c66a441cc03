"""Messages between the guardian and the gateway's processes: each arrives whole, with descriptors if need be.

| from, to             | kind       | meaning                                                                         |
|----------------------|------------|---------------------------------------------------------------------------------|
| process, guardian    | `restart`  | put a new process in my place, with this `program` and `environment`            |
| guardian, process    | `ask`      | ask me for a restart (SIGUSR2), once no order is being followed                 |
| guardian, successor  | `heir`     | be ready with these versions, and wait                                          |
| successor, guardian  | `ready`    | they are                                                                        |
| successor, guardian  | `failed`   | they will not be, for this `problem`                                            |
| guardian, process    | `stay`     | there is no successor, for this `problem`: go on                                |
| guardian, successor  | `lead`     | answer users                                                                    |
| successor, guardian  | `leading`  | users and orders reach me; I follow no order yet                                |
| guardian, successor  | `take`     | here (the descriptor) come connections that another process had                 |
| guardian, process    | `retire`   | take no more connections, give those you have through the descriptor, and end   |
| process, guardian    | `retired`  | no new request will begin here                                                  |
| guardian, successor  | `open`     | nobody else answers new requests: follow orders                                 |

Old and new code speak through this: a kind or a field may be added, none may change its meaning. What the processes
that answer users say to one another is in `flock`.
"""

import os
import signal
import socket
from collections.abc import Sequence

import msgspec

__all__ = ["NEWS", "Mail", "Message", "content_of", "enclosed"]

NEWS = signal.SIGUSR1  # tells the guardian, which waits for signals alone, that there is a message
LARGEST = 128 << 10
MOST_DESCRIPTORS = 8


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message; what each kind has of the rest is said in the table above."""

    kind: str
    problem: str = ""
    pid: int = 0
    program: str = ""
    environment: dict[str, str] | None = None
    ready: Sequence[tuple[str, str]] = ()
    number: int = 0


class Mail:
    """One end of a channel; nothing here blocks."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._end = end

    @classmethod
    def pair(cls) -> tuple["Mail", "Mail"]:
        """Both ends of a new channel."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours), cls(theirs)

    @classmethod
    def inherited(cls, descriptor: int) -> "Mail":
        """The end with that number, which no process started from now on inherits."""
        os.set_inheritable(descriptor, False)
        return cls(socket.socket(fileno=descriptor))

    def fileno(self) -> int:
        """Its number, to wait for messages with."""
        return self._end.fileno()

    def close(self) -> None:
        """The other end hears of it by `EOFError`."""
        self._end.close()

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Send it. Raises `OSError` when the other end is gone, `BlockingIOError` when it has too much to read."""
        content = msgspec.json.encode(message)
        if len(content) > LARGEST:
            raise OSError(f"a message {message.kind} of {len(content)} bytes is too large")
        socket.send_fds(self._end, [content], list(descriptors))

    def receive(self) -> tuple[Message, list[int]] | None:
        """The next message with its descriptors; None when there is none now. Raises `EOFError` at the end."""
        try:
            content, descriptors, _, _ = socket.recv_fds(self._end, LARGEST + 1, MOST_DESCRIPTORS)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            content, descriptors = b"", []
        if not content:
            raise EOFError("the other end is closed")
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        return msgspec.json.decode(content, type=Message), descriptors


def enclosed(content: bytes) -> int:
    """A descriptor to send along with a message: what it holds may be of any size. The caller closes it."""
    descriptor = os.memfd_create("message", os.MFD_CLOEXEC)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(content)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def content_of(descriptor: int) -> bytes:
    """What somebody enclosed; several may read it."""
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0)
