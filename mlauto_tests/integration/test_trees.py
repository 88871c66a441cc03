"""Digests of trees without their documentation."""

from typing import Any

import pytest

from mlauto.errors import SourceError
from mlauto.integration.git import Mirror
from mlauto.integration.trees import TreeReader, is_documentation


@pytest.mark.parametrize(
    ("name", "top", "expected"),
    [
        ("README.md", False, True),
        ("notes.rst", True, True),
        ("LICENSE.txt", True, True),
        (".gitignore", False, True),
        ("docs", True, True),
        ("docs", False, False),
        (".github", True, True),
        ("model.py", True, False),
        ("readme.txt", True, False),
    ],
)
def test_documentation(name: str, top: bool, expected: bool) -> None:
    """What cannot change a model; a folder `docs` deeper down may be a package."""
    assert is_documentation(name, top=top) is expected


def test_digest_sees_names_modes_and_moves(origin: Any, mirror: Mirror) -> None:
    """Renaming, moving or making executable changes the digest; a folder with documentation only does not count."""
    origin.commit("one", a_py="1")
    origin.git("mv", "a.py", "b.py")
    origin.commit("renamed")
    (origin.path / "b.py").chmod(0o755)
    origin.commit("executable")
    origin.commit("moved", lib__b_py="1")
    before = origin.commit("same content elsewhere", other__b_py="1")
    after = origin.commit("only notes", notes__deep__x_md="text")
    mirror.fetch()

    trees = [c.tree for c in reversed(mirror.commits(after))]

    assert len(set(trees)) == 5
    assert trees[-1] == trees[-2] == mirror.commit(before).tree


def test_unknown_tree_is_an_error(origin: Any, mirror: Mirror) -> None:
    """An object that is missing names the mirror, and the reader stays usable."""
    sha = origin.commit("one", a_py="1")
    mirror.fetch()

    with TreeReader(mirror.path) as reader:
        with pytest.raises(SourceError, match="delete that mirror"):
            reader.digest("0" * 40)
        with pytest.raises(SourceError, match="is not in"):
            reader.digest(sha)  # a commit is no tree
        assert len(reader.digest(origin.git("rev-parse", "HEAD^{tree}"))) == 64


def test_absurd_nesting_is_refused(origin: Any, mirror: Mirror) -> None:
    """Folders nested deeper than any honest tree end in a sentence, not in a recursion error."""
    tree = origin.git("mktree", data=b"")
    for _ in range(200):
        tree = origin.git("mktree", data=f"040000 tree {tree}\td\n".encode())
    commit = origin.git("commit-tree", "-m", "deep", tree)
    origin.git("update-ref", "refs/heads/main", commit)
    mirror.fetch()

    with pytest.raises(SourceError, match="nested more than 100 deep"):
        mirror.commit(commit)
