"""The products of this installation, read from their YAML without Dagster: for commands that must start fast."""

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from mlauto.errors import ProductError
from mlauto.product import ModelProduct
from mlauto.settings import Settings

__all__ = ["COMPONENT", "defs_files", "find_product", "json_schema", "load_products", "product_names"]

COMPONENT = "mlauto.ModelProduct"


def defs_files(settings: Settings) -> list[Path]:
    """Every `defs.yaml` below the defs folder, sorted."""
    return sorted(settings.defs.glob("*/defs.yaml"))


def product_names(settings: Settings) -> list[str]:
    """Names in the YAML files and in the state directory, sorted; the YAML need not be valid otherwise.

    Raises `ProductError` for a file that is no YAML.
    """
    attributes = [_attributes(document) for path in defs_files(settings) for document, _ in _documents(path)]
    named = {str(found["name"]) for found in attributes if "name" in found}
    base = settings.home / "products"
    kept = {folder.name for folder in base.iterdir() if folder.is_dir()} if base.is_dir() else set()
    return sorted(named | kept)


def load_products(settings: Settings) -> dict[str, ModelProduct]:
    """All products by name. Raises `ProductError` naming file, line and key of the first thing that is wrong."""
    products: dict[str, ModelProduct] = {}
    for path in defs_files(settings):
        for document, root in _documents(path):
            product = _validated(path, document, root)
            if product.name in products:
                raise ProductError(f"{path}: another product is called {product.name!r} already: rename one of them")
            products[product.name] = product
    return products


def find_product(settings: Settings, name: str) -> ModelProduct:
    """The product of that name. Raises `ProductError` listing the known ones."""
    products = load_products(settings)
    if name not in products:
        known = ", ".join(products) or f"none yet, `mlauto new {name}` makes one"
        raise ProductError(f"no product {name!r} in {settings.defs} (known: {known})")
    return products[name]


def _documents(path: Path) -> Iterator[tuple[dict[str, Any], yaml.Node]]:
    """The documents of our component in a file, with their nodes, which know lines."""
    text = path.read_text()
    try:
        values = list(yaml.safe_load_all(text))
        nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ProductError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    for value, node in zip(values, nodes, strict=False):
        if isinstance(value, dict) and value.get("type") == COMPONENT and node is not None:
            yield value, node


def _attributes(document: dict[str, Any]) -> dict[str, Any]:
    found = document.get("attributes")
    return found if isinstance(found, dict) else {}


def _validated(path: Path, document: dict[str, Any], root: yaml.Node) -> ModelProduct:
    from pydantic import ValidationError

    try:
        return ModelProduct.model_validate(_attributes(document))
    except ValidationError as error:
        # a key that does not exist first: a misspelt section would otherwise be reported as missing
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        said = _unknown_key(first["loc"]) if first["type"] == "extra_forbidden" else first["msg"]
        where = ("attributes", *first["loc"])
        dotted = ".".join(map(str, first["loc"])) or "attributes"
        more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ProductError(f"{path}:{_line(root, where)}: {dotted}: {said}{more}") from error


def _unknown_key(where: tuple[int | str, ...]) -> str:
    """That there is no such key, and which one may have been meant."""
    from pydantic import BaseModel

    section: Any = ModelProduct
    for part in where[:-1]:
        section = getattr(section.model_fields.get(part), "annotation", None)
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            return "there is no such key: see `mlauto schema`"
    near = get_close_matches(str(where[-1]), section.model_fields, n=1)
    return f"there is no such key; did you mean {near[0]!r}?" if near else "there is no such key: see `mlauto schema`"


def _line(node: yaml.Node, where: tuple[int | str, ...]) -> int:
    """The line (from 1) of the deepest part of `where` that is written in the file."""
    line = node.start_mark.line + 1
    for part in where:
        if isinstance(node, yaml.MappingNode):
            pairs = {key.value: (key, value) for key, value in node.value}
            if part not in pairs:
                break
            key, node = pairs[part]
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def json_schema() -> dict[str, Any]:
    """The JSON schema of a whole `defs.yaml` document, with completion for every key."""
    attributes = ModelProduct.model_json_schema(ref_template="#/$defs/{model}")
    shared = attributes.pop("$defs", {})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A model product of mlauto",
        "type": "object",
        "properties": {"type": {"const": COMPONENT}, "attributes": attributes},
        "required": ["type", "attributes"],
        "additionalProperties": False,
        "$defs": shared,
    }
