"""The vendors' files as a test reads them: parsed, with the shell that they hold, broken on purpose where asked."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlauto_tests.conftest import CHECKOUT

__all__ = ["CI", "VENDORS", "Document", "parsed", "shell_of", "written"]

CI = CHECKOUT / "ops" / "ci"
VENDORS = ("Jenkinsfile", "travis.yml", "github-actions.yml", "gitlab-ci.yml", "codepipeline.yaml", "buildspec.yml")
Document = dict[Any, Any]
SHELL = {"run", "script", "before_script", "after_script", "after_failure", "after_success", "commands", "install"}


class _Tags(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, which become {tag: value}; a key written twice is an error."""


def _tagged(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {suffix: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {suffix: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {suffix: loader.construct_mapping(node, deep=True)}


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    assert len(keys) == len(set(keys)), f"a key twice in {keys}"
    return loader.construct_mapping(node, deep=True)


_Tags.add_multi_constructor("!", _tagged)
_Tags.add_constructor("tag:yaml.org,2002:map", _mapping)


def written(name: str) -> str:
    """The text of a vendor's file."""
    return (CI / name).read_text()


def parsed(text: str) -> Document:
    """A vendor's YAML. `on` stays the key that it is."""
    document = yaml.load(re.sub(r"(?m)^on:", '"on":', text), _Tags)
    assert isinstance(document, dict)
    return document


def shell_of(name: str) -> list[str]:
    """Every piece of shell in a vendor's file, in the order of the file."""
    text = written(name)
    if name == "Jenkinsfile":
        return [long or short for long, short in re.findall(r"\bsh (?:'''(.*?)'''|'([^'\n]*)')", text, re.DOTALL)]
    return list(_shell(parsed(text)))


def _shell(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key in SHELL and isinstance(value, str | list):
                yield from ([value] if isinstance(value, str) else map(str, value))
            else:
                yield from _shell(value)
    elif isinstance(node, list):
        for value in node:
            yield from _shell(value)


@pytest.fixture
def broken(tmp_path: Path) -> Callable[[str, str, str], Path]:
    """A copy of a vendor's file in which one text is replaced, under the same name."""

    def make(name: str, old: str, new: str) -> Path:
        text = written(name)
        assert old in text
        path = tmp_path / name
        path.write_text(text.replace(old, new, 1))
        return path

    return make
