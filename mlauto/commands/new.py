"""`mlauto new`: a product's YAML, its expectations, its landing folder, and a small model repository with tests.

Nothing that exists is ever overwritten, and a failure in the middle leaves nothing behind: each part is made under a
temporary name beside its place and renamed, the YAML (which makes it a product) last.
"""

import json
import keyword
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Any

from mlauto.commands.proposal import Proposal, example_file, propose, read_source
from mlauto.errors import ProductError
from mlauto.integration.plumbing import require_git, run_git
from mlauto.settings import Settings

__all__ = ["NewProduct", "make_repository", "new_product"]

TEMPLATES = Path(__file__).resolve().parent / "templates"
GIT_SECONDS = 60.0
ESTIMATORS = {"regression": "HistGradientBoostingRegressor", "classification": "HistGradientBoostingClassifier"}
ANSWERS = {
    "regression": "random.normal(size=ROWS)",
    "classification": "random.choice(LABELS, size=ROWS)",
}
USABLE = {
    "regression": "    assert np.isfinite(model.predict(unseen)).all()",
    "classification": (
        "    assert set(model.predict(unseen).tolist()) <= set(LABELS)\n"
        "    assert np.allclose(model.predict_proba(unseen).sum(axis=1), 1)"
    ),
}


@dataclass(frozen=True, kw_only=True)
class NewProduct:
    """What was made. `notes` say what was decided without being asked; as text it is what a person wants to read."""

    name: str
    task: str
    definition: Path
    expectations: Path
    repository: Path
    landed: Path
    notes: tuple[str, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """The YAML, the expectations, the model repository and the landed data file."""
        return (self.definition, self.expectations, self.repository, self.landed)

    def __str__(self) -> str:
        lines = [
            f"{self.name}: a new product ({self.task})",
            f"  product       {self.definition}",
            f"  expectations  {self.expectations}",
            f"  model         {self.repository} (git, branch main)",
            f"  data          {self.landed}",
        ]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def new_product(
    settings: Settings,
    name: str,
    *,
    source: Path | None = None,
    target: str | None = None,
    task: str | None = None,
    timestamp: str | None = None,
    exclude: Sequence[str] = (),
) -> NewProduct:
    """Make the product `name` from a data file, or from a made-up example without one.

    Raises `ProductError` when something of that name exists, and when the file does not support what was asked for (the
    message names the nearest columns, or says what to do); `SourceError` when git is missing.
    """
    places = [settings.root / "models" / name, settings.root / "landing" / name, settings.defs / name]
    _require_free(name, places)
    with tempfile.TemporaryDirectory(prefix="mlauto-new-") as scratch:
        notes: tuple[str, ...] = ()
        if source is None:
            target, timestamp, task = target or "target", timestamp or "timestamp", task or "regression"
            source = example_file(Path(scratch), target=target, task=task, timestamp=timestamp)
            notes = (f"{source.name} is made up: replace it, and the columns in model.py, by your own",)
        frame = read_source(source, timestamp)
        proposal = propose(frame, target=target, task=task, timestamp=timestamp, exclude=exclude)
        landed: Path = source
        suite = _suite(frame, proposal)
        _make(
            places,
            [
                lambda folder: _write_repository(folder, name, proposal),
                lambda folder: _copy(landed, folder),
                lambda folder: _write_definition(folder, name, proposal, suite),
            ],
        )
    return NewProduct(
        name=name,
        task=proposal.task,
        definition=places[2] / "defs.yaml",
        expectations=places[2] / "expectations.json",
        repository=places[0],
        landed=places[1] / source.name,
        notes=(*notes, *proposal.notes),
    )


def make_repository(place: Path, name: str, proposal: Proposal) -> None:
    """Make only the model repository of a product, at `place`. Raises `ProductError` when something is there."""
    _require_free(name, [place])
    _make([place], [lambda folder: _write_repository(folder, name, proposal)])


def _require_free(name: str, places: Sequence[Path]) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name):
        raise ProductError(f"{name!r} is no product name: lower-case letters, digits and _, at most 41, a letter first")
    if keyword.iskeyword(name) or name in sys.stdlib_module_names or _is_installed(name):
        raise ProductError(f"{name!r} is also a Python module, and the model's package would hide it: choose another")
    for place in places:
        if place.is_symlink() or place.is_file() or (place.is_dir() and any(place.iterdir())):
            raise ProductError(f"{place} exists already: choose another name, or move it away")


def _is_installed(name: str) -> bool:
    spec = find_spec(name)
    return spec is not None and spec.origin is not None


def _suite(frame: Any, proposal: Proposal) -> dict[str, Any]:
    from mlauto.training.batches.quality import propose_suite

    return propose_suite(frame, target=proposal.target, timestamp=proposal.timestamp)


def _make(places: Sequence[Path], writers: Sequence[Callable[[Path], None]]) -> None:
    """Write each place's content beside it and rename it there, in order; undo all of it when one fails."""
    with ExitStack() as undo:
        for place, write in zip(places, writers, strict=True):
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                staged = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}-"))
                undo.callback(shutil.rmtree, staged, ignore_errors=True)
                write(staged)
                staged.chmod(0o755)
                os.rename(staged, place)
            except OSError as error:
                raise ProductError(f"{place} could not be made: {error.strerror}; see what is there") from error
            undo.callback(shutil.rmtree, place, ignore_errors=True)
        undo.pop_all()


def _write_definition(folder: Path, name: str, proposal: Proposal, suite: dict[str, Any]) -> None:
    (folder / "expectations.json").write_text(json.dumps(suite, indent=2, ensure_ascii=False) + "\n")
    values = {
        "name": name,
        "target": _quoted(proposal.target),
        "timestamp": _quoted(proposal.timestamp) if proposal.timestamp is not None else "null",
        "task": proposal.task,
        "exclude": f"[{', '.join(map(_quoted, proposal.exclude))}]",
    }
    (folder / "defs.yaml").write_text(_rendered("defs.yaml", values))


def _copy(source: Path, folder: Path) -> None:
    # With its old time, so that nobody waits for it to be complete: it arrives by rename, whole.
    shutil.copy2(source, folder / source.name)
    (folder / source.name).chmod(0o644)


def _write_repository(folder: Path, name: str, proposal: Proposal) -> None:
    labels = f"LABELS = [{', '.join(map(_literal, proposal.labels))}]\n" if proposal.labels else ""
    values = {
        "name": name,
        "target": proposal.target,
        "task": proposal.task,
        "estimator": ESTIMATORS[proposal.task],
        "numbers": _assigned("NUMBERS", proposal.numbers),
        "categories": _assigned("CATEGORIES", proposal.categories),
        "labels": labels,
        "answers": ANSWERS[proposal.task],
        "usable": USABLE[proposal.task],
    }
    files = {
        ".gitignore": "gitignore",
        "README.md": "README.md",
        "pyproject.toml": "pyproject.toml",
        f"{name}/__init__.py": "init.py",
        f"{name}/model.py": "model.py",
        "tests/test_model.py": "test_model.py",
    }
    for path, template in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(_rendered(template, values))
    _first_commit(folder)


def _first_commit(folder: Path) -> None:
    """`git init` on branch main; later commits work too, on a machine where git knows nobody yet."""
    inside = ["-C", str(folder)]
    require_git(["init", "--quiet", "--template=", "-b", "main", "--", str(folder)], timeout=GIT_SECONDS)
    for key, default in (("user.name", "mlauto"), ("user.email", "mlauto@localhost")):
        own = run_git(["config", "--global", "--get", key], timeout=GIT_SECONDS, network=True)
        require_git([*inside, "config", key, own.output.decode().strip() or default], timeout=GIT_SECONDS)
    require_git([*inside, "add", "--all"], timeout=GIT_SECONDS)
    require_git([*inside, "commit", "--quiet", "-m", "A first model, proposed from the data"], timeout=GIT_SECONDS)


def _rendered(template: str, values: dict[str, str]) -> str:
    return Template((TEMPLATES / f"{template}.tmpl").read_text()).substitute(values)


def _assigned(variable: str, names: Sequence[str]) -> str:
    line = f"{variable} = [{', '.join(map(_literal, names))}]"
    if len(line) <= 120:
        return line
    return "\n".join([f"{variable} = [", *(f"    {_literal(name)}," for name in names), "]"])


def _quoted(value: str) -> str:
    """Text as a YAML (and JSON) literal."""
    return json.dumps(value, ensure_ascii=False)


def _literal(value: object) -> str:
    """A Python literal, with the quotes that a formatter would choose."""
    plain = isinstance(value, str) and ('"' not in value or "'" in value)
    return json.dumps(value, ensure_ascii=False) if plain else repr(value)
