"""What goes into an image, and what must not: the bundle directory, assembled and then inspected as it stands.

Files lose every right but reading, whatever the repository says, and links become the files that they name. Everything
else that does not belong into an image is named, never dropped silently.
"""

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path

import msgspec

from mlauto.errors import StoreError
from mlauto.records import TrainedModel
from mlauto.serving.bundle import write_manifest

__all__ = ["assemble", "inspect"]

COMMON = ("signature.json", "golden.json")
PLAN_FILES = ("plan.json", "plan.npz", "walker.so")
LEFT_OUT = frozenset({".git", "__pycache__", ".pytest_cache", ".ruff_cache", ".mypy_cache"})
PICKLES = ("*.pkl", "*.pickle", "*.joblib", "*.dill", "*.cloudpickle")
SECRETS = (
    ".env", ".env.*", "*.pem", "*.key", "*.p12", "*.pfx", "*.kdbx", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519",
    ".netrc", ".pypirc", ".pgpass", ".git-credentials", "credentials.json", ".htpasswd",
)  # fmt: skip
EXAMPLES = ("*.example", "*.sample", "*.template", "*.dist")
BEYOND_READING = stat.S_ISUID | stat.S_ISGID | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH | stat.S_IWGRP | stat.S_IWOTH


def assemble(content: Path, product: str, model: TrainedModel, artifact: Path, tree: Path) -> list[str]:
    """Fill the empty directory `content` with the bundle of a model: its files, the code tree and the manifest.

    A model that was compiled is served by its plan alone: neither scikit-learn's file nor the team's code is needed.
    Returns one sentence per link of the tree that could not be taken. Raises `StoreError` for an incomplete artifact.
    """
    compiled = (artifact / "plan").is_dir()
    refused: list[str] = []
    _take((*COMMON, *(() if compiled else ("model.skops",))), artifact, content, model.version)
    if compiled:
        present = [name for name in PLAN_FILES if name != "walker.so" or (artifact / "plan" / name).is_file()]
        _take(present, artifact / "plan", content, model.version)
    else:
        (content / "code").mkdir()
        refused = list(_copy_tree(tree.resolve(), content / "code"))
    write_manifest(
        content,
        name=product,
        version=model.version,
        commit=model.commit.sha,
        key=model.key,
        trusted=() if compiled else _trusted(artifact),
        flavour="compiled" if compiled else "sklearn",
        facts={
            "dataset": model.training_set.digest,
            "mlflow.run": model.run_id,
            "mlflow.version": model.version,
            "tree": model.commit.tree,
            "trained": datetime.fromtimestamp(round(model.trained), UTC).isoformat().replace("+00:00", "Z"),
        },
    )
    (content / "manifest.json").chmod(0o644)
    content.chmod(0o755)
    return refused


def _take(names: Sequence[str], source: Path, content: Path, version: str) -> None:
    for name in names:
        if not (source / name).is_file():
            raise StoreError(f"the artifact of version {version} lacks {name}: materialize the model again")
        _copy(source / name, content / name)


def inspect(content: Path) -> list[str]:
    """One sentence per file that has no place in an image: rights beyond reading, links, pickles, secrets."""
    findings = []
    for folder, folders, names in os.walk(content):
        for name in (*folders, *names):
            path = Path(folder, name)
            problem = _problem(path)
            if problem:
                findings.append(f"{path.relative_to(content).as_posix()} {problem}")
    return sorted(findings)


def _trusted(artifact: Path) -> list[str]:
    path = artifact / "trusted.json"
    if not path.exists():
        return []
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[str])
    except msgspec.MsgspecError as error:
        raise StoreError(f"{path} is no list of type names: {error}; materialize the model again") from error


def _copy_tree(tree: Path, target: Path) -> Iterator[str]:
    """Copy the regular files of `tree`; yields a sentence for each link that leads nowhere, outside or to a folder."""
    for folder, folders, names in os.walk(tree):
        here = Path(folder).relative_to(tree)
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        (target / here).mkdir(exist_ok=True, mode=0o755)
        for name in (*folders, *names):
            source = Path(folder, name)
            if name in folders and not source.is_symlink():
                continue
            whole = source.resolve()
            if not whole.is_relative_to(tree):
                yield f"code/{(here / name).as_posix()} is a link out of the repository: commit the file itself"
            elif not whole.is_file():
                yield f"code/{(here / name).as_posix()} is a link to a folder or to nothing: commit what it names"
            elif not name.endswith(".pyc"):
                _copy(whole, target / here / name)


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(0o644)


def _problem(path: Path) -> str | None:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return "is a link"
    if stat.S_ISDIR(mode):
        return "may be written by anybody" if mode & stat.S_IWOTH else None
    if mode & BEYOND_READING or not stat.S_ISREG(mode):
        return f"has the rights {stat.filemode(mode)}"
    with path.open("rb") as stream:
        head = stream.read(64)
    if any(fnmatch(path.name.lower(), pattern) for pattern in PICKLES) or _is_pickle(head, path):
        return "is a pickle, which runs code when it is read: store arrays or JSON instead"
    example = any(fnmatch(path.name, pattern) for pattern in EXAMPLES)
    named = not example and any(fnmatch(path.name.lower(), pattern) for pattern in SECRETS)
    if named or (head.startswith(b"-----BEGIN ") and b"PRIVATE KEY" in head):
        return "looks like a secret: take it out of the repository, and change the secret"
    return None


def _is_pickle(head: bytes, path: Path) -> bool:
    """Protocols 2 to 5 begin with their number; every pickle ends with the opcode STOP, a full stop."""
    if len(head) < 2 or head[0] != 0x80 or not 2 <= head[1] <= 5:
        return False
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read() == b"."
