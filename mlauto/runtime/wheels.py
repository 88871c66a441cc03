"""Wheels for an image's Python, fetched on this machine and kept: a build then needs no network, and leaves none of it.

pip fetches them, as it is configured here; each lies in a folder named by its SHA-256, which a lock's entry lists.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mlauto.errors import DeliveryError
from mlauto.runtime.keeping import forget_unused, use
from mlauto.runtime.recipe import Locked

__all__ = ["Python", "Wheels"]

LOG_LINES = 20


@dataclass(frozen=True)
class Python:
    """An image's interpreter: `3.11.2`, the machine as `x86_64`, and the C library as `glibc 2.36`."""

    version: str
    machine: str
    library: str

    # what an image is asked, by its own Python
    QUESTION = "import platform as p; print(p.python_version(), p.machine(), *p.libc_ver())"

    @classmethod
    def said(cls, answer: str) -> "Python":
        """From the answer to `QUESTION`. Raises `DeliveryError` for one without a GNU C library."""
        found = re.fullmatch(r"(3\.\d+\.\d+)\S* (\w+) (glibc) (2\.\d+)", answer.strip())
        if found is None:
            raise DeliveryError(
                f"the base image's Python says {answer.strip()[:200]!r}: take one with Python 3 and the GNU C library"
            )
        return cls(found[1], found[2], f"{found[3]} {found[4]}")

    @property
    def name(self) -> str:
        """The folder of its wheels."""
        return re.sub(r"[^\w.]", "-", f"cp{self.minor}-{self.library}-{self.machine}")

    @property
    def minor(self) -> str:
        """`3.11`."""
        return self.version.rpartition(".")[0]

    @property
    def platforms(self) -> list[str]:
        """Which wheels run there."""
        newest = int(self.library.rpartition(".")[2])
        return [
            "any",
            f"manylinux2014_{self.machine}",
            *(f"manylinux_2_{n}_{self.machine}" for n in range(5, newest + 1)),
        ]

    def wants(self, entry: Locked) -> bool:
        """Whether the entry's marker holds there."""
        from packaging.markers import Marker

        here = {
            "python_full_version": self.version,
            "python_version": self.minor,
            "platform_machine": self.machine,
            "sys_platform": "linux",
            "platform_system": "Linux",
            "os_name": "posix",
            "platform_python_implementation": "CPython",
            "implementation_name": "cpython",
        }
        return not entry.marker or Marker(entry.marker).evaluate(here)


class Wheels:
    """The kept wheels below one folder, which many processes may use at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take(self, entries: Iterable[Locked], python: Python, target: Path) -> list[Path]:
        """Put the wheels of all entries that hold there into `target`, fetching those that are not kept.

        Raises `DeliveryError` with pip's last lines when one cannot be fetched.
        """
        wanted = [entry for entry in entries if python.wants(entry)]
        missing = [entry for entry in wanted if self._kept(entry, python) is None]
        if missing:
            self._fetch(missing, python)
            forget_unused(self._folder)
        return [self._put(entry, python, target) for entry in wanted]

    def _kept(self, entry: Locked, python: Python) -> Path | None:
        for one in entry.hashes:
            for path in (self._folder / python.name / one).glob("*.whl"):
                if _digest(path) == one:
                    return path
                path.unlink()  # damaged
        return None

    def _put(self, entry: Locked, python: Python, target: Path) -> Path:
        kept = self._kept(entry, python)
        if kept is None:
            raise DeliveryError(f"{entry.name} {entry.version} went away from {self._folder}: build again")
        use(kept)
        placed = target / kept.name
        try:
            os.link(kept, placed)
        except OSError:  # another file system
            shutil.copy2(kept, placed)
        return placed

    def _fetch(self, entries: list[Locked], python: Python) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".fetch-") as scratch:
            wanted = Path(scratch, "wanted.txt")
            # the markers were judged for the image; pip would judge them for this machine
            wanted.write_text("\n".join(re.sub(r"\s*;[^\\\n]*", " ", entry.text, count=1) for entry in entries) + "\n")
            _pip_download(wanted, python, Path(scratch))
            for path in Path(scratch).glob("*.whl"):
                place = self._folder / python.name / _digest(path)
                place.mkdir(parents=True, exist_ok=True)
                os.replace(path, place / path.name)


def _pip_download(wanted: Path, python: Python, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input", "--quiet"]
    command += ["--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", str(wanted), "-d", str(folder)]
    command += ["--implementation", "cp", "--python-version", python.minor, *_options("--platform", python.platforms)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        said = "\n".join(done.stdout.strip().splitlines()[-LOG_LINES:])
        raise DeliveryError(f"the wheels of an image cannot be fetched for Python {python.minor}:\n{said}")


def _options(name: str, values: Iterable[str]) -> Iterator[str]:
    for value in values:
        yield from (name, value)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
