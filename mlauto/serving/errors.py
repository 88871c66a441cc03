"""What can go wrong beside users' traffic, and whose business it is.

ServingError                 anything below; the message is a sentence that a client or an operator may read
├── RequestError             the client's mistake: `status` is the 4xx to answer, the message names the field
├── BundleError              a bundle is damaged or incomplete: build it again
├── UnavailableError         no version can answer now: `status` is 503 or 504, the client may come again
├── ModelError               the model failed on rows that its signature allows: 500
├── ControlError             an order to the gateway cannot be followed: `status` is 404, 409 or 502
└── StateError               the gateway's state file, or a setting of it, cannot be read
"""

__all__ = [
    "BundleError",
    "ControlError",
    "ModelError",
    "RequestError",
    "ServingError",
    "StateError",
    "UnavailableError",
]


class ServingError(Exception):
    """The root. `status` is the HTTP status that says the same."""

    status = 500


class RequestError(ServingError):
    """The client's mistake."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class BundleError(ServingError):
    """A bundle is not what its manifest says, or has none."""


class UnavailableError(ServingError):
    """No version can answer now; `version` is the one that was asked last, if any."""

    def __init__(self, message: str, status: int = 503, version: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.version = version


class ModelError(ServingError):
    """The model raised, or answered something that is no prediction."""


class ControlError(ServingError):
    """An order to the gateway cannot be followed; nothing was changed."""

    def __init__(self, message: str, status: int = 409) -> None:
        super().__init__(message)
        self.status = status


class StateError(ServingError):
    """The gateway's state file is there and does not parse, or a setting is none that exists."""
