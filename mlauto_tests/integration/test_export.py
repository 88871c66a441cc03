"""Unpacking archives, hostile ones included."""

import io
import tarfile
from pathlib import Path

import pytest

from mlauto.errors import SourceError
from mlauto.integration.export import RefusedTreeError, export_tree, unpack
from mlauto.integration.git import Mirror


def archive(*entries: tuple[str, str, bytes]) -> io.BytesIO:
    """A tar stream of (kind, name, content or link aim)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for kind, name, content in entries:
            member = tarfile.TarInfo(name)
            if kind == "link":
                member.type, member.linkname = tarfile.SYMTYPE, content.decode()
            elif kind == "device":
                member.type = tarfile.CHRTYPE
            else:
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", ".git/hooks/pre-commit", "a/.git/config"])
def test_names_that_leave_the_target_are_refused(name: str, tmp_path: Path) -> None:
    """An entry's name must stay within the target, and out of any .git."""
    target = tmp_path / "target"
    target.mkdir()

    with pytest.raises(RefusedTreeError, match="no place for a file"):
        unpack(archive(("file", name, b"x")), target)
    assert list(target.iterdir()) == []


def test_files_are_never_written_through_links(tmp_path: Path) -> None:
    """A link followed by a file below it writes nothing outside, whichever comes first."""
    target, outside = tmp_path / "target", tmp_path / "outside"
    target.mkdir()
    outside.mkdir()

    with pytest.raises((SourceError, FileExistsError)):
        unpack(archive(("link", "d", str(outside).encode()), ("file", "d/evil", b"x")), target)
    assert list(outside.iterdir()) == []


def test_chain_of_links_that_leaves_is_refused(tmp_path: Path) -> None:
    """Each link alone looks harmless; together they leave the target."""
    target = tmp_path / "target"
    target.mkdir()
    chain = archive(("file", "a/b/x", b""), ("link", "a/b/up", b"../.."), ("link", "out", b"a/b/up/../x"))

    with pytest.raises(RefusedTreeError, match="link 'out' points outside"):
        unpack(chain, target)


def test_circle_of_links_is_refused(tmp_path: Path) -> None:
    """Links that point at each other are named."""
    with pytest.raises(RefusedTreeError, match="goes in a circle"):
        unpack(archive(("link", "a", b"b"), ("link", "b", b"a")), tmp_path)


def test_links_within_and_dangling_ones_are_kept(tmp_path: Path) -> None:
    """Links that stay inside are made, whether or not their aim exists."""
    unpack(archive(("link", "x/alias", b"../real"), ("file", "real", b"1"), ("link", "later", b"none")), tmp_path)

    assert (tmp_path / "x" / "alias").read_bytes() == b"1"
    assert (tmp_path / "later").is_symlink()


def test_limits_hold(tmp_path: Path) -> None:
    """Too many bytes or entries end the unpacking."""
    with pytest.raises(RefusedTreeError, match="larger than 10 bytes"):
        unpack(archive(("file", "a", b"12345678901")), tmp_path, most_bytes=10)
    with pytest.raises(RefusedTreeError, match="or 1 files"):
        unpack(archive(("file", "b", b""), ("file", "c", b"")), tmp_path, most_entries=1)


def test_devices_are_left_out(tmp_path: Path) -> None:
    """Git holds files, folders and links; nothing else is ever made."""
    unpack(archive(("device", "null", b""), ("file", "a", b"1")), tmp_path)

    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_failing_git_archive_is_an_error(mirror: Mirror, tmp_path: Path) -> None:
    """An unknown commit gives no empty tree."""
    mirror.fetch()

    with pytest.raises(SourceError, match="git archive of commit ffffffffffff"):
        export_tree(mirror.path, "f" * 40, tmp_path)
