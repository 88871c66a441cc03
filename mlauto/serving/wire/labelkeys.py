"""Key columns that are not the model's: taken with a request, logged beside its rows, and never passed to the model.

Labels that come without prediction ids are joined by them. They are the product's, not a version's, so that clients may
send them whichever version answers; the live sensor writes them to `<products>/<product>/records/label_keys.json`.
"""

from pathlib import Path

import msgspec

from mlauto.serving.wire.protocol import Request
from mlauto.serving.wire.signature import Signature

__all__ = ["parted", "with_keys"]


def parted(request: Request, signature: Signature) -> tuple[Request, bytes]:
    """The request with its rows' keys, if it has any, as JSON text of their own; the model's columns as JSON."""
    if not signature.keys:
        return request, msgspec.json.encode(request.rows)
    keys = [{name: row.pop(name) for name in signature.keys} for row in request.rows]
    told = any(value is not None for row in keys for value in row.values())
    found = msgspec.structs.replace(request, keys=msgspec.json.encode(keys)) if told else request
    return found, msgspec.json.encode(request.rows)


def with_keys(signature: Signature, path: Path | None) -> Signature:
    """The signature with the key columns in that file which are not the model's; the same one where it has them.

    A file that is not there, or does not parse, names none.
    """
    keys: tuple[str, ...] = ()
    if path is not None:
        try:
            found = msgspec.json.decode(path.read_bytes(), type=tuple[str, ...])
            keys = tuple(name for name in found if name not in signature.columns)
        except (OSError, msgspec.MsgspecError):
            keys = ()
    return signature if keys == signature.keys else msgspec.structs.replace(signature, keys=keys)
