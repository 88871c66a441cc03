"""Labels as clients send them: `{"id", "label"}`, `{"id", "labels": [...]}` or `{"labels": {id: label or list}}`."""

from typing import Any

from mlauto.serving.errors import RequestError
from mlauto.serving.wire.protocol import decoded
from mlauto.serving.wire.signature import LARGEST_FLOAT, described

__all__ = ["parse_feedback"]


def parse_feedback(body: bytes) -> dict[str, list[object]]:
    """Prediction id -> labels, one per row. Raises `RequestError` naming the key that is wrong."""
    content = decoded(body, dict[str, Any])
    unknown = [key for key in content if key not in ("id", "label", "labels")]
    if unknown:
        raise RequestError(f"{unknown[0][:100]}: unknown key; send id and label, or id and labels, or labels by id")
    if "id" not in content:
        return _many(content)
    if not isinstance(content["id"], str):
        raise RequestError(f"id: must be text, not {described(content['id'])}")
    if ("label" in content) == ("labels" in content):
        raise RequestError("label: send either label (one row) or labels (a list, one per row)")
    if "label" in content:
        return {content["id"]: [_checked(content["label"], "label")]}
    if not isinstance(content["labels"], list):
        raise RequestError(f"labels: must be a list, one label per row, not {described(content['labels'])}")
    return {content["id"]: _list(content["labels"], "labels")}


def _many(content: dict[str, Any]) -> dict[str, list[object]]:
    labels = content.get("labels")
    if "label" in content or not isinstance(labels, dict) or not labels:
        raise RequestError('id: is missing; send {"id", "label"}, {"id", "labels"} or {"labels": {id: label}}')
    return {
        key: _list(value, f"labels.{key[:80]}") if isinstance(value, list) else [_checked(value, f"labels.{key[:80]}")]
        for key, value in labels.items()
    }


def _list(values: list[object], place: str) -> list[object]:
    if not values:
        raise RequestError(f"{place}: the list is empty: send one label per row")
    return [_checked(value, f"{place}[{index}]") for index, value in enumerate(values)]


def _checked(value: object, place: str) -> object:
    """A label is text, true, false, or a finite number."""
    number = isinstance(value, int | float) and abs(value) < LARGEST_FLOAT
    if not isinstance(value, str) and not number:
        raise RequestError(f"{place}: a label is text or a number, not {described(value)}")
    return value
