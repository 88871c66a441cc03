"""Labels in their three forms."""

import json
from typing import Any

import pytest

from mlauto.serving.errors import RequestError
from mlauto.serving.wire.feedback import parse_feedback


def parsed(content: Any) -> dict[str, list[object]]:
    return parse_feedback(json.dumps(content).encode())


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        ({"id": "a", "label": 1.5}, {"a": [1.5]}),
        ({"id": "a", "label": "yes"}, {"a": ["yes"]}),
        ({"id": "a", "label": False}, {"a": [False]}),
        ({"id": "a", "labels": [1, 2]}, {"a": [1, 2]}),
        ({"labels": {"a": 1, "b": [2, 3]}}, {"a": [1], "b": [2, 3]}),
    ],
)
def test_all_forms_mean_labels_by_id(content: Any, labels: dict[str, list[object]]) -> None:
    """One label per row, as the client wrote it."""
    assert parsed(content) == labels


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "id: is missing"),
        ({"label": 1}, "id: is missing"),
        ({"labels": [1]}, "id: is missing"),
        ({"labels": {}}, "id: is missing"),
        ({"id": 7, "label": 1}, "id: must be text, not the number 7"),
        ({"id": "a"}, "label: send either label"),
        ({"id": "a", "label": 1, "labels": [1]}, "label: send either label"),
        ({"id": "a", "labels": 1}, "labels: must be a list"),
        ({"id": "a", "labels": []}, "labels: the list is empty"),
        ({"id": "a", "label": None}, "label: a label is text or a number, not null"),
        ({"id": "a", "labels": [1, {}]}, "labels[1]: a label is text or a number, not an object"),
        ({"labels": {"a": [[1]]}}, "labels.a[0]: a label is text or a number, not a list"),
        ({"labels": {"a": 10**400}}, "labels.a: a label is text or a number, not a number that is too large"),
        ({"id": "a", "truth": 1}, "truth: unknown key"),
        ([], "expected `object`"),
    ],
)
def test_mistakes_name_the_key(content: Any, words: str) -> None:
    """4xx with the place."""
    with pytest.raises(RequestError) as caught:
        parsed(content)

    assert words in str(caught.value)
