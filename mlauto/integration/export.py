"""Unpacking a stranger's tree: nothing is written, and no link points, outside of the target."""

import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO, cast

from mlauto.errors import SourceError
from mlauto.integration.plumbing import open_git

__all__ = ["RefusedTreeError", "export_tree", "unpack"]

MOST_BYTES = 2 * 1024**3
MOST_ENTRIES = 200_000


class RefusedTreeError(SourceError):
    """The tree holds what is not unpacked: a verdict on the commit, which stays the same however often it is tried."""


def export_tree(repository: Path, sha: str, target: Path) -> None:
    """Write the files of commit `sha` of a bare `repository` into the existing, empty directory `target`.

    Raises `SourceError` when git fails, and `RefusedTreeError` like `unpack`.
    """
    with open_git(repository, "archive", "--format=tar", sha) as process:
        stream = cast(IO[bytes], process.stdout)
        try:
            unpack(stream, target)
            stream.read()  # the padding after the archive's end, so that git is not cut short
        except tarfile.TarError as error:
            raise SourceError(f"git archive of commit {sha[:12]} gave no whole archive: {error}") from error
        finally:
            stream.close()  # git ends by itself once nobody reads
    if process.returncode != 0:
        raise SourceError(f"git archive of commit {sha[:12]} failed with exit code {process.returncode}")


def unpack(stream: IO[bytes], target: Path, *, most_bytes: int = MOST_BYTES, most_entries: int = MOST_ENTRIES) -> None:
    """Unpack a tar stream of files, folders and symbolic links into `target`.

    Links are made last, so that no file is ever written through one. Raises `RefusedTreeError` naming the entry that
    leaves the target (by its name or as a link), and when the archive is larger than the limits.
    """
    links: list[tuple[Path, str]] = []
    size = 0
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for number, member in enumerate(archive, start=1):
            size += member.size
            if size > most_bytes or number > most_entries:
                raise RefusedTreeError(
                    f"the tree is larger than {most_bytes} bytes or {most_entries} files: make it smaller"
                )
            path = target / _inside(member.name)
            if member.isdir():
                path.mkdir(parents=True, exist_ok=True)
            elif member.issym():
                links.append((path, member.linkname))
            elif member.isreg():
                _write(archive.extractfile(member), path, executable=bool(member.mode & 0o100))
    _make_links(links, target.resolve())


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or ".git" in path.parts:
        raise RefusedTreeError(
            f"the tree holds {name[:200]!r}, which is no place for a file: remove it from the repository"
        )
    return path


def _write(content: IO[bytes] | None, path: Path, *, executable: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as stream:
        if content is not None:
            shutil.copyfileobj(content, stream)
    path.chmod(0o755 if executable else 0o644)


def _make_links(links: list[tuple[Path, str]], root: Path) -> None:
    for path, aim in links:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(aim)
    # Only now, with all of them there: a link may go through another.
    for path, aim in links:
        try:
            resolved = path.resolve()
        except (OSError, RuntimeError) as error:
            raise RefusedTreeError(f"the tree's link {path.name!r} goes in a circle: remove it") from error
        if not resolved.is_relative_to(root):
            raise RefusedTreeError(
                f"the tree's link {path.name!r} points outside of the repository ({aim[:200]!r}): put the file there"
            )
