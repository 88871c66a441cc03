"""The layout that bundles on disk have."""

from mlauto.serving.plan.layout import LEAF, NODE


def test_nodes_have_the_layout_of_bundles_on_disk() -> None:
    """24 bytes: another layout would be another format."""
    assert NODE.itemsize == 24
    assert [NODE.fields[name][1] for name in ("threshold", "left", "right", "feature", "flags")] == [0, 8, 12, 16, 20]  # type: ignore[index]
    assert LEAF == 1
