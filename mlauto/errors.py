"""Every error mlauto raises on purpose, and what to do about each.

MlautoError                 anything below; the message names the thing and the next step
├── ProductError            a product's YAML (or what it points at) is wrong: edit the named field
├── SourceError             a git repository cannot be read: check the address, the branch, the credentials
├── DataError               a data file or a batch cannot be used: see the quarantine and the reason beside it
├── StoreError              an artifact is missing or is not what its digest says: rebuild it, do not use it
├── TrainingError           the team's estimator failed, or its result is no usable model: see the attached log
├── DeliveryError           a deployment or a rollout failed: production keeps what it had
└── MeasurementError        live metrics could not be measured: no verdict, and never a retraining
"""

__all__ = [
    "DataError",
    "DeliveryError",
    "MeasurementError",
    "MlautoError",
    "ProductError",
    "SourceError",
    "StoreError",
    "TrainingError",
]


class MlautoError(Exception):
    """The root: catch this to show a sentence instead of a traceback."""


class ProductError(MlautoError):
    """A product's YAML, or a file that it names, is wrong."""


class SourceError(MlautoError):
    """A git repository could not be read."""


class DataError(MlautoError):
    """A data file or a batch cannot be used."""


class StoreError(MlautoError):
    """An artifact is missing, or its content differs from its digest."""


class TrainingError(MlautoError):
    """The team's estimator failed, or what it returned is no usable model."""


class DeliveryError(MlautoError):
    """A deployment could not be made, verified or changed; production keeps what it had."""


class MeasurementError(MlautoError):
    """Live metrics could not be measured."""
