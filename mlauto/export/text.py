"""YAML as it is committed: stable order, long expressions as blocks, and a first line that says where it comes from."""

from typing import Any

__all__ = ["yaml_text"]

WIDTH = 120
MADE = "# Made by `mlauto export ops` from the products' YAML: what is changed here is lost."


def yaml_text(document: dict[str, Any], *told: str) -> str:
    """The document, below comments; equal documents, equal text."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """One that writes texts of several lines as blocks, and nothing by reference."""

        def ignore_aliases(self, data: Any) -> bool:
            """Always: people read this."""
            del data
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    body = yaml.dump(document, Dumper=Dumper, sort_keys=False, width=WIDTH, allow_unicode=True)
    return "\n".join([MADE, *(f"# {line}" for line in told), body])
