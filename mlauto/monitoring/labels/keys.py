"""Keys: the values of a product's key columns, written so that a request's and a label file's are the same text.

`3`, `3.0` and the text `"3"` are one value; so are the ways to write one moment in time, which is UTC unless it says
otherwise, and a day is its first moment. Text is taken without the blanks around it. A key with a gap is none.
"""

import datetime
import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

__all__ = ["digest_of_key", "key_text"]

MOMENT = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
EXACT = 2.0**53  # whole numbers beyond it have no exact float


def key_text(names: Sequence[str], values: Iterable[Any]) -> str | None:
    """A JSON object of the columns in that order; None where a value is missing or is no plain one."""
    found = {}
    for name, value in zip(names, values, strict=True):
        plain = _plain(value)
        if plain is None:
            return None
        found[name] = plain
    return msgspec.json.encode(found).decode()


def digest_of_key(text: str) -> bytes:
    """16 bytes that stand for a key: two keys with the same ones are not to be expected."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _plain(value: Any) -> str | None:
    if isinstance(value, str):
        return _text(value.strip())
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, datetime.date):
        return _text(value.isoformat())
    return None


def _text(text: str) -> str | None:
    if not text or text.lower() == "nan":
        return None
    if text.lower() in ("true", "false"):
        return text.lower()
    if NUMBER.fullmatch(text):
        # 007 is a name, not a number
        lead = text.lstrip("+-")
        named = len(lead) > 1 and lead[0] == "0" and lead[1].isdigit()
        return text if named else _number(float(text)) if not text.lstrip("+-").isdigit() else str(int(text))
    if MOMENT.fullmatch(text):
        return _moment(text)
    return text


def _number(value: float) -> str | None:
    if not math.isfinite(value):
        return None
    return str(int(value)) if value.is_integer() and abs(value) <= EXACT else repr(value)


def _moment(text: str) -> str:
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        return text
    if found.tzinfo is not None:
        try:
            found = found.astimezone(datetime.UTC).replace(tzinfo=None)
        except OverflowError:  # at the ends of time
            return text
    return found.isoformat()
