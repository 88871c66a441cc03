"""JUnit reports of a stranger's tests, read within bounds."""

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

__all__ = ["Junit", "read_junit"]

MOST_BYTES = 16 * 1024**2
MOST_FAILURES = 20
MOST_CHARACTERS = 500


@dataclass(frozen=True)
class Junit:
    """How many tests there were, and `name: message` of the first 20 that did not pass."""

    tests: int
    failures: tuple[str, ...]


def read_junit(path: Path) -> Junit | None:
    """What a JUnit XML file says; None where there is none that is whole, below 16 MiB, UTF-8 and free of a DTD."""
    if not path.is_file():  # a pipe of that name would never end
        return None
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
        text = content.decode()
        if len(content) > MOST_BYTES or "<!DOCTYPE" in text or "<!ENTITY" in text:
            return None
        root = ElementTree.fromstring(text)  # noqa: S314 - without a DTD there is no entity to expand
    except (OSError, UnicodeDecodeError, ElementTree.ParseError):
        return None
    failures: list[str] = []
    tests = 0
    for case in root.iter("testcase"):
        tests += 1
        problem = next((child for child in case if child.tag in {"failure", "error"}), None)
        if problem is not None and len(failures) < MOST_FAILURES:
            failures.append(_sentence(case, problem))
    return Junit(tests, tuple(failures))


def _sentence(case: ElementTree.Element, problem: ElementTree.Element) -> str:
    name = "::".join(part for part in (case.get("classname"), case.get("name")) if part)
    message = " ".join((problem.get("message") or problem.text or problem.tag).split())
    return f"{name}: {message}"[:MOST_CHARACTERS]
