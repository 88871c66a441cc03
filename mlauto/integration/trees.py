"""The digest of what can change a model: a commit's tree without its documentation.

Raw tree objects come from one `git cat-file --batch` process, and an unchanged folder is looked at once however many
commits share it, so a thousand commits cost about as much as reading what changed between them.
"""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, cast

from mlauto.errors import SourceError
from mlauto.integration.plumbing import open_git
from mlauto.store import digest_of

__all__ = ["TreeReader", "is_documentation"]

FOLDER = "40000"
DEEPEST = 100


def is_documentation(name: str, *, top: bool) -> bool:
    """Whether an entry cannot change a model; `docs` and `.github` count at the `top` of the tree only."""
    return (
        name.endswith((".md", ".rst"))
        or name.startswith("LICENSE")
        or name == ".gitignore"
        or (top and name in {"docs", ".github"})
    )


class TreeReader:
    """Digests of trees of one repository; use it as a context manager, and for many trees at once."""

    def __init__(self, repository: Path) -> None:
        self.repository = repository
        self._seen: dict[tuple[bool, str], str] = {}

    def __enter__(self) -> "TreeReader":
        self._process = open_git(self.repository, "cat-file", "--batch")
        self._questions = cast(IO[bytes], self._process.stdin)
        self._answers = cast(IO[bytes], self._process.stdout)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._questions.close()
        self._process.kill()
        self._process.wait()
        self._answers.close()

    def digest(self, tree: str, *, depth: int = 0) -> str:
        """SHA-256 over modes, names and object names of all files below `tree` that are no documentation.

        Empty text for a folder that holds nothing else. Raises `SourceError` if an object is missing or the folders
        are nested absurdly deep.
        """
        known = (depth == 0, tree)
        if known not in self._seen:
            if depth > DEEPEST:
                raise SourceError(f"folders are nested more than {DEEPEST} deep in {self.repository}: flatten them")
            entries = []
            for mode, name, sha in self._entries(tree):
                if not is_documentation(name, top=depth == 0):
                    entries.append((mode, name, self.digest(sha, depth=depth + 1) if mode == FOLDER else sha))
            kept = [entry for entry in entries if entry[2]]
            self._seen[known] = digest_of(kept) if kept or depth == 0 else ""
        return self._seen[known]

    def _entries(self, tree: str) -> Iterator[tuple[str, str, str]]:
        content = self._read(tree)
        width = len(tree) // 2
        at = 0
        while at < len(content):
            end = content.index(b"\0", at)
            mode, _, name = content[at:end].partition(b" ")
            at = end + 1 + width
            # Names are bytes to git; Latin-1 keeps every one of them distinct.
            yield mode.decode(), name.decode("latin-1"), content[end + 1 : at].hex()

    def _read(self, sha: str) -> bytes:
        self._questions.write(f"{sha}\n".encode())
        self._questions.flush()
        head = self._answers.readline().split()
        content = self._answers.read(int(head[2]) + 1)[:-1] if len(head) == 3 else b""
        if head[1:2] != [b"tree"]:
            raise SourceError(f"tree {sha[:12]} is not in {self.repository}: delete that mirror, it is made again")
        return content
