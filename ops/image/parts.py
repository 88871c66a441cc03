"""Makes parts of a layer, as archives that only have to be put one behind another: mlauto keeps and combines them.

    python3 parts.py wheels ENVIRONMENT WHEELS OUT    a part for each wheel, and one for the empty environment
    python3 parts.py code PLACE FOLDER OUT            one for the code in FOLDER, as it is to lie at PLACE

Each is what install.py would have left in the image. `OUT/NAME.tar` is a tar archive of files alone, without its end,
equal for equal content; `OUT/NAME.json` gives its digest, the folders that it needs, because an engine takes each name
only once, and what is in it (components of a CycloneDX list). NAME is a wheel's SHA-256, `environment` or `code`.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

from install import PACKAGES, Component, debian, normalized, python_package, site_of, strip

MOMENT = 315_532_800  # 1980-01-01: zip files know no earlier time
PROGRAM = 0o111


def main(arguments: list[str]) -> int:
    """Make the parts; the exit code."""
    what, place, given, out = arguments[0], *map(Path, arguments[1:])
    root = out.resolve() / "root"
    if what == "code":
        shutil.copytree(given, below(root, place))
        compiled(below(root, place), root)
        write(out, "code", root, files(root), [])
        return 0
    write(out, "environment", Path("/"), files(place), debian(PACKAGES))
    wheels = sorted(given.glob("*.whl"))
    if wheels:
        install(place, wheels, given, root)
        split(below(root, site_of(place)), wheels, root, out)
    return 0


def below(root: Path, place: Path) -> Path:
    """Where an absolute path lies under another root."""
    return root / place.relative_to("/")


def install(environment: Path, wheels: Iterable[Path], given: Path, root: Path) -> None:
    """Have pip install them for that environment, but below `root`; without what only builds, with bytecode."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", environment / "bin" / "python"]
    options = ["--quiet", "--no-deps", "--no-cache-dir", "--no-compile", "--root-user-action", "ignore", "--root", root]
    # by name: an installation from a path would note the path
    names = ["==".join(path.name.split("-")[:2]) for path in wheels]
    subprocess.run([*pip, "install", *options, "--no-index", "--find-links", given, *names], check=True)
    site = below(root, site_of(environment))
    strip(site)
    compiled(site, root)


def compiled(folder: Path, root: Path) -> None:
    """Make bytecode that knows its sources by their place in the image."""
    options = ["-q", "-j", "0", "--invalidation-mode", "unchecked-hash", "-s", root, "-p", "/"]
    subprocess.run([sys.executable, "-m", "compileall", *options, folder], check=True)


def split(site: Path, wheels: Iterable[Path], root: Path, out: Path) -> None:
    """A part for each wheel: what its record lists, and the bytecode of that. Every file must be in one."""
    digests = {normalized(path.name.partition("-")[0]): digest(path.read_bytes()) for path in wheels}
    left = set(files(root))
    for found in importlib.metadata.distributions(path=[str(site)]):
        name = normalized(found.metadata["Name"])
        listed = [Path(found.locate_file(path)).resolve() for path in found.files or ()]
        bytecode = [Path(importlib.util.cache_from_source(str(path))) for path in listed if path.suffix == ".py"]
        ours = sorted(path for path in {*listed, *bytecode} if path in left)
        left.difference_update(ours)
        write(out, digests[name], root, ours, [python_package(found, {name: digests[name]})])
    if left:
        raise SystemExit(f"no record lists {', '.join(str(path.relative_to(root)) for path in sorted(left)[:5])}")


def files(folder: Path) -> list[Path]:
    """Files and links below a folder, sorted."""
    return sorted(path for path in folder.resolve().rglob("*") if path.is_symlink() or not path.is_dir())


def write(out: Path, name: str, root: Path, paths: Iterable[Path], components: list[Component]) -> None:
    """The archive, and last what is in it: who finds that finds a whole archive."""
    whole, folders = hashlib.sha256(), set[str]()
    with (out / f"{name}.tar").open("wb") as stream:
        for path in paths:
            place = path.relative_to(root)
            folders.update(parent.as_posix() for parent in list(place.parents)[:-1])
            block = entry(path, place)
            whole.update(block)
            stream.write(block)
    said = {"digest": whole.hexdigest(), "folders": sorted(folders), "components": components}
    (out / f"{name}.json").write_text(json.dumps(said))


def entry(path: Path, place: Path) -> bytes:
    """A file or link in a tar archive: root's, readable for all, at one moment."""
    found = tarfile.TarInfo(place.as_posix())
    found.mtime = MOMENT
    if path.is_symlink():
        found.type, found.mode, found.linkname = tarfile.SYMTYPE, 0o777, str(path.readlink())
        return found.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    content = path.read_bytes()
    found.mode, found.size = 0o644 | (PROGRAM if path.stat().st_mode & PROGRAM else 0), len(content)
    head = found.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    return head + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def digest(content: bytes) -> str:
    """SHA-256."""
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
