"""API keys: what a client must show before anything but the server's health is answered.

`MLAUTO_API_KEY` holds one key, or several with commas between them so that a key can be replaced while clients still
use the old one. A client sends one as `x-api-key: KEY` or `authorization: Bearer KEY`. Without the variable, or with an
empty one, everybody is answered.
"""

import hmac
import os
import re
from collections.abc import Callable, Iterable, Mapping

from mlauto.serving.errors import RequestError, StateError
from mlauto.serving.web.http import App, Headers, Receive, Scope, Send, reply_error

__all__ = ["VARIABLE", "Keys", "keyed"]

VARIABLE = "MLAUTO_API_KEY"
KEY = re.compile(r"[!-+\--~]{8,256}")  # visible ASCII but the comma
OPEN = ("/v2/health/live", "/v2/health/ready")  # probes have no key, and learn only which products are not ready
CHALLENGE = (b"www-authenticate", b'Bearer realm="mlauto"')


class Keys:
    """The keys that are accepted, at least one."""

    def __init__(self, text: str) -> None:
        """Raises `StateError`, without the text in it, where a key is missing, short or has other characters."""
        parts = [part.strip() for part in text.split(",")]
        for place, part in enumerate(parts, 1):
            if not KEY.fullmatch(part):
                raise StateError(
                    f"{VARIABLE}: key {place} of {len(parts)} is not usable: a key is 8 to 256 visible ASCII characters"
                    " without commas; correct or unset it"
                )
        self._keys = [part.encode() for part in parts]

    @classmethod
    def of(cls, environment: Mapping[str, str] | None = None) -> "Keys | None":
        """The keys of that environment, by default this process's; None where everybody is answered."""
        text = (os.environ if environment is None else environment).get(VARIABLE)
        return cls(text) if text else None

    def admit(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether a header (names in lower case) shows one of the keys; the time that takes tells nothing of them."""
        for name, value in headers:
            if name == b"x-api-key":
                shown = value
            elif name == b"authorization" and value[:7].lower() == b"bearer ":
                shown = value[7:].strip()
            else:
                continue
            if sum(hmac.compare_digest(shown, key) for key in self._keys):
                return True
        return False


def keyed(app: App, keys: Keys | None, refused: Callable[[], None] | None = None) -> App:
    """The application behind its keys: 401 and a sentence for who shows none, after a call of `refused`."""
    if keys is None:
        return app

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].rstrip("/") in OPEN or keys.admit(scope["headers"]):
            await app(scope, receive, send)
            return
        if refused is not None:
            refused()
        shown = any(name in (b"x-api-key", b"authorization") for name, _ in scope["headers"])
        problem = "the API key is not one of this server's" if shown else "an API key is missing"
        error = RequestError(f"{problem}: send x-api-key: KEY, or authorization: Bearer KEY", 401)
        headers: Headers = [CHALLENGE]
        await reply_error(send, error, headers=headers)

    return answer
