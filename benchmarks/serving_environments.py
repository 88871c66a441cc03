"""An environment of its own for every server of the serving benchmark: made once by pip, used again."""

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from serving_load import UnavailableError

PIP_SECONDS = 600.0
INSTALLER = ("pip", "setuptools", "wheel", "pkg_resources", "_distutils_hack", "distutils-precedence")


def same(*names: str) -> tuple[str, ...]:
    """Requirements on the very versions that this project runs on."""
    return tuple(f"{name}=={metadata.version(name)}" for name in names)


def environment(root: Path, name: str, pins: tuple[str, ...]) -> Path:
    """The Python of an environment with these packages. Raises `UnavailableError` when pip cannot make it."""
    folder = root / name
    python, done = folder / "bin" / "python", folder / "pins.txt"
    if done.exists() and done.read_text().splitlines() == list(pins):
        return python
    shutil.rmtree(folder, ignore_errors=True)
    print(f"{name}: making its environment with pip", file=sys.stderr)
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", "--compile", *pins],
    ):
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=PIP_SECONDS)
        except subprocess.TimeoutExpired:
            raise UnavailableError(f"not installed within {PIP_SECONDS:.0f} s: {' '.join(pins)}") from None
        except subprocess.CalledProcessError as error:
            said = [line for line in (error.stderr + error.stdout).splitlines() if line.strip()]
            worst = [line for line in said if line.startswith("ERROR")] or said or ["no reason given"]
            raise UnavailableError(f"not installed: {worst[-1][:200]}") from None
    done.write_text("".join(f"{pin}\n" for pin in pins))
    return python


def megabytes(python: Path) -> float:
    """What an environment's packages take on disk, bytecode included and the installer not."""
    packages = next((python.parent.parent / "lib").glob("python*/site-packages"))
    counted = [path for path in packages.iterdir() if not path.name.startswith(INSTALLER)]
    files = [file for path in counted for file in (path.rglob("*") if path.is_dir() else [path])]
    return sum(file.lstat().st_blocks for file in files) * 512 / 1e6
