"""Where a team's own code runs while it is checked and trained: the seam, and this machine behind it.

Nothing above asks which workshop it is: a check is a program in a copy of the commit's tree, a training is a module
with a request file whose paths mean the same there as here.
"""

import functools
import importlib.metadata
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mlauto.runtime.process import Finished, run_program, scrubbed_environment
from mlauto.runtime.warm import WarmProcess
from mlauto.store import digest_of

__all__ = ["Bench", "LocalWorkshop", "OnLine", "RunPython", "Workshop", "bench_environment", "environment_digest"]

LIBRARIES = ("numpy", "pandas", "scikit-learn", "scipy", "skops")
OnLine = Callable[[str], None]


class Bench(Protocol):
    """A copy of a tree, in which commands run one after another; each sees what the ones before left there.

    `tree` and `scratch` are the paths that a command sees: of the copy, and of the folder around it. `image` is the id
    of the image in which they run, "" for none.
    """

    image: str
    tree: str
    scratch: str

    def run(
        self, argv: Sequence[str], *, timeout: float, on_line: OnLine | None, limit: int, report: str = ""
    ) -> Finished:
        """Run a program in the copy, at most `timeout` seconds; about `limit` characters of its output are kept.

        `report` names a file in `scratch` that it may write and that is wanted.
        """
        ...

    def file(self, report: str) -> Path:
        """Where on this machine that file is, if it was written."""
        ...


class RunPython(Protocol):
    """`python -m module argument` as a child process, warm where a warm process is there."""

    def __call__(
        self,
        module: str,
        argument: Path,
        *,
        cwd: Path,
        env: Mapping[str, str],
        timeout: float,
        on_line: OnLine | None = None,
        reads: Sequence[Path] = (),
        fetch: Sequence[str] = (),
    ) -> Finished:
        """Run it to its end or the time limit.

        It sees the tree that it is for, the files that lie in `cwd` and what `reads` names, and writes to `cwd`; of
        what it wrote there, only the names `fetch` need be there afterwards.
        """


class Workshop(Protocol):
    """A place for other people's code. Raises `MlautoError` where the place itself is amiss, never for that code."""

    def image(self) -> str:
        """Id of the image in which code runs, made unless it is there; "" for this machine itself."""
        ...

    def environment(self) -> str:
        """Digest of the Python and the libraries that code runs on: what else determines a model. Makes nothing."""
        ...

    def python(self, tree: Path) -> RunPython:
        """How a training of that tree runs there."""
        ...

    def bench(self, tree: Path) -> AbstractContextManager[Bench]:
        """A copy of the tree to run checks in, gone at the end of the block with all that runs there."""
        ...

    def tidy(self) -> tuple[str, ...]:
        """Remove what killed processes left of their jobs here, in this state directory's name; what that was."""
        ...


@functools.cache
def environment_digest() -> str:
    """Digest of this Python's version and of the numeric libraries' versions.

    Read once in a process: a running one goes on with the libraries that it has loaded.
    """
    return digest_of(platform.python_version(), {name: importlib.metadata.version(name) for name in LIBRARIES})


def bench_environment(tree: Path, copy: str, scratch: str) -> dict[str, str]:
    """What the commands of a bench find beside the usual: a home of their own, and the tree's `src` or the tree."""
    source = f"{copy}/src" if (tree / "src").is_dir() else copy
    return {"HOME": f"{scratch}/home", "TMPDIR": f"{scratch}/home", "PYTHONPATH": source}


@dataclass(frozen=True)
class LocalWorkshop:
    """Processes of this machine and user, a warm one where it runs: nothing of ours in the environment, no more."""

    warm: WarmProcess

    def image(self) -> str:
        """None."""
        return ""

    def environment(self) -> str:
        """That of this process."""
        return environment_digest()

    def python(self, tree: Path) -> RunPython:
        """The warm process's."""
        del tree
        return self.warm.run_python

    @contextmanager
    def bench(self, tree: Path) -> Iterator[Bench]:
        """A temporary directory."""
        with tempfile.TemporaryDirectory(prefix="mlauto-ci-") as scratch:
            copy = Path(scratch, "tree")
            shutil.copytree(tree, copy, symlinks=True)
            Path(scratch, "home").mkdir()
            yield _LocalBench(self.image(), str(copy), scratch, bench_environment(tree, str(copy), scratch))

    def tidy(self) -> tuple[str, ...]:
        """Nothing: a job's processes end with their maker, and temporary files are the system's."""
        return ()


@dataclass
class _LocalBench:
    image: str
    tree: str
    scratch: str
    environment: Mapping[str, str]

    def run(
        self, argv: Sequence[str], *, timeout: float, on_line: OnLine | None, limit: int, report: str = ""
    ) -> Finished:
        del report
        env = scrubbed_environment(**self.environment)
        return run_program(argv, cwd=Path(self.tree), env=env, timeout=timeout, on_line=on_line, limit=limit)

    def file(self, report: str) -> Path:
        return Path(self.scratch, report)
