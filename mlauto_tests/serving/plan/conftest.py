"""Small trees as arrays."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlauto.serving.plan.layout import CATEGORY, LEAF, MISSING_LEFT, NODE, WORDS

Arrays = dict[str, NDArray[Any]]


@pytest.fixture
def stumps() -> Arrays:
    """Two trees over two cells: "x0 <= 1", missing left, with leaves 10 and 20; "x1 in {3}" with leaves 0.5, 0.25."""
    nodes = np.zeros(6, dtype=NODE)
    nodes[0] = (1.0, 1, 2, 0, MISSING_LEFT)
    nodes[1], nodes[2] = (10.0, 1, 1, 0, LEAF), (20.0, 2, 2, 0, LEAF)
    nodes[3] = (0.0, 4, 5, 1, CATEGORY)
    nodes[4], nodes[5] = (0.5, 4, 4, 0, LEAF), (0.25, 5, 5, 0, LEAF)
    sets = np.zeros((1, 2 * WORDS), dtype=np.uint32)
    sets[0, 0] = 1 << 3
    sets[0, WORDS] = (1 << 3) | (1 << 4)
    return {
        "nodes": nodes,
        "roots": np.array([0, 3]),
        "outputs": np.zeros(2, dtype=np.int32),
        "values": np.zeros((0, 1)),
        "sets": sets,
    }
