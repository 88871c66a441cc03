"""Workshop images for tests that need no more of one than that it is there: the base, this environment's own files."""

import importlib.metadata
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

import mlauto
from mlauto.runtime.docker_engine import DockerEngine
from mlauto.runtime.engine import Build

CHECKS = ("pytest", "ruff", "msgspec")
TRAINING = (*CHECKS, "httptools", "matplotlib", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "skops")
RECIPE = """
ARG BASE
FROM ${BASE} AS workshop
RUN python3 -m venv --without-pip /opt/workshop
COPY site-packages /opt/workshop/lib/python3.11/site-packages
COPY bin /opt/workshop/bin
RUN python3 -m compileall -q /opt/workshop/lib/python3.11/site-packages
ENV PATH=/opt/workshop/bin:/usr/local/bin:/usr/bin:/bin
"""
SCRIPT = "#!/opt/workshop/bin/python\nimport sys\nfrom pytest import console_main\nsys.exit(console_main())\n"


@dataclass(frozen=True)
class OneImage:
    """A `WorkshopImages` that has one image for every tree."""

    id: str

    def workshop(self, tree: Path, on_line: object = None) -> str:
        """That image."""
        del tree, on_line
        return self.id

    def environment(self, tree: Path) -> str:
        """As if nothing but the image decided it."""
        del tree
        return self.id


@contextmanager
def workshop_image(base: str, folder: Path, names: Sequence[str]) -> Iterator[str]:
    """The id of an image with those distributions, what they need, and mlauto; removed afterwards."""
    packages, programs = folder / "site-packages", folder / "bin"
    programs.mkdir(parents=True)
    for distribution in _with_needs(names):
        for file in distribution.files or ():
            source = Path(str(distribution.locate_file(file)))
            if ".." in file.parts:  # a program
                if source.name == "ruff":
                    shutil.copy(source, programs / "ruff")
            elif source.suffix != ".pyc" and source.is_file():
                target = packages / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
    (programs / "pytest").write_text(SCRIPT)
    (programs / "pytest").chmod(0o755)
    ours = Path(mlauto.__file__).parent
    shutil.copytree(ours, packages / "mlauto", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "Dockerfile").write_text(RECIPE)
    engine = DockerEngine()
    tag = f"mlauto-test-{os.getpid()}:workshop{len(names)}"
    build = Build(context=folder, dockerfile="Dockerfile", target="workshop", tag=tag, arguments={"BASE": base})
    try:
        yield engine.build(build).id
    finally:
        engine.remove_image(tag)
        engine.close()


def _with_needs(names: Sequence[str]) -> list[importlib.metadata.Distribution]:
    found: dict[str, importlib.metadata.Distribution] = {}
    wanted = list(names)
    while wanted:
        name = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        if name in found:
            continue
        found[name] = importlib.metadata.distribution(name)
        needs = [Requirement(text) for text in found[name].requires or ()]
        wanted += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return list(found.values())
