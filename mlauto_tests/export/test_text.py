"""YAML for people."""

import yaml

from mlauto.export.text import yaml_text


def test_it_is_what_it_was_and_says_where_it_comes_from() -> None:
    """Order is kept, texts of several lines are blocks, nothing is written by reference."""
    shared = {"b": "one\n  two", "a": [1, "x: y", ""]}
    text = yaml_text({"z": shared, "y": shared}, "Told.")

    assert yaml.safe_load(text) == {"z": shared, "y": shared}
    assert text.startswith("# Made by `mlauto export ops`")
    assert "\n# Told.\n" in text
    assert text.index("z:") < text.index("y:")
    assert "|-\n" in text
    assert "&id" not in text
