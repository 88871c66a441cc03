"""Images: what a new model, new code and new dependencies cost, how large they are, and MLflow's recipe beside them.

    python benchmarks/image.py [--quick] [--json PATH]

Needs a Docker engine and its base image (MLAUTO_BASE_IMAGE, see ops/base_image.sh). MLflow's Dockerfile is the one that
`mlflow models generate-dockerfile` writes for the same pipeline, on the same base: Python is set up in front of it, and
pip gets this machine's certificates as a build argument. It needs the network; ours does not. Medians of 9 (3 with
--quick). Everything made is removed again, but for the images of dependencies, which are a cache.
Exit code 0 only when every target holds.
"""

import argparse
import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table
from serving_model import NAME, bundle, data, fitted

from mlauto.runtime.docker_engine import DockerEngine
from mlauto.runtime.engine import HOME_LABEL, Build, EngineImage
from mlauto.runtime.flavours import Flavours
from mlauto.runtime.images import Images
from mlauto.runtime.recipe import locked
from mlauto.serving.bundle import write_manifest
from mlauto.settings import PACKAGE, Settings
from mlauto.store import file_digest

MB = 1_000_000
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
INTERPRETER = """RUN python3 -m venv /opt/python
ENV PATH=/opt/python/bin:$PATH
ARG PIP_CERT
COPY certificates.crt /etc/ssl/certs/ca-certificates.crt
"""
FILES = (
    "Dockerfile",
    "mlauto/__init__.py",
    "mlauto/serving",
    "ops/image/install.py",
    "ops/image/parts.py",
    "requirements-serving.lock",
    "requirements-sklearn.lock",
)
Figures = list[tuple[str, float, str, float]]


class Bench:
    """One engine, one scratch state directory, the shared cache of wheels."""

    def __init__(self, home: Path, repeats: int) -> None:
        found = Settings.from_environment()
        base = os.environ.get("MLAUTO_BASE_IMAGE") or "mlauto-base:bookworm"
        self.settings = dataclasses.replace(found, home=home / "home", base_image=base)
        self.shared = dataclasses.replace(self.settings, home=found.cache / "flavours")
        self.home, self.repeats = home, repeats
        self.engine = DockerEngine()
        self.flavours = Flavours(self.shared, self.engine)
        self.images = Images(self.settings, self.engine, self.flavours)
        self.version = 0

    def base(self) -> EngineImage:
        image = self.engine.image(self.settings.base_image)
        if image is None:
            raise SystemExit(f"no base image {self.settings.base_image}: run ops/base_image.sh")
        return image

    def median(
        self, work: Callable[[], object], prepare: Callable[[], object] = lambda: None, repeats: int = 0
    ) -> float:
        seconds = []
        for _ in range(repeats or self.repeats):
            prepare()
            began = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - began)
        return statistics.median(seconds)

    def model(self, content: Path) -> EngineImage:
        version = json.loads((content / "manifest.json").read_text())["version"]
        return self.images.found(NAME, self.images.model(NAME, version, version, content))

    def changed(self, content: Path, size: int) -> None:
        """Another model of that many bytes."""
        self.version += 1
        (content / "weights.bin").write_bytes(os.urandom(size))
        flavour = "compiled" if (content / "plan.json").exists() else "sklearn"
        version = str(self.version)
        write_manifest(content, name=NAME, version=version, commit="0" * 40, key=version, flavour=flavour)

    def clean(self) -> None:
        ours = {HOME_LABEL: str(self.settings.home)}
        for container in self.engine.containers(ours):
            self.engine.remove(container.id)
        for image in sorted(self.engine.images(ours), key=lambda one: len(one.layers), reverse=True):
            for reference in (*image.tags, image.id):
                self.engine.remove_image(reference)
        self.engine.close()


def models(bench: Bench) -> tuple[Figures, float]:
    """Only the model changed, or nothing; and the seconds of the fallback flavour, to be compared with MLflow's."""
    pipeline = fitted("boosted")
    compiled = bundle(pipeline, bench.home / "compiled", bench.home / "native", version="0")
    fallback = bundle(pipeline, bench.home / "fallback", bench.home / "native", version="0", compiled=False)
    bench.model(compiled)
    bench.model(fallback)
    one = bench.median(lambda: bench.model(compiled), lambda: bench.changed(compiled, MB))
    same = bench.median(lambda: bench.model(compiled))
    hundred = bench.median(lambda: bench.model(compiled), lambda: bench.changed(compiled, 100 * MB))
    sklearn = bench.median(lambda: bench.model(fallback), lambda: bench.changed(fallback, MB))
    figures: Figures = [
        ("only the model changed, 1 MB, s", one, "<=", 0.3),
        ("only the model changed, 100 MB, s", hundred, "<=", 1.5),
        ("only the model changed, 1 MB with scikit-learn, s", sklearn, "<=", 0.3),
        ("nothing changed, s", same, "<=", 0.1),
    ]
    return figures, sklearn


def starts(bench: Bench) -> Figures:
    """From the order to run a container to its first answer, which must be the pipeline's own."""
    import numpy as np

    from mlauto.runtime.servers import Servers
    from mlauto.runtime.unix_http import Connection
    from mlauto.training.artifact import rows_of

    servers, frame = Servers(bench.settings, bench.engine), data(3, seed=2)[0]
    rows, expected = json.dumps(rows_of(frame)), fitted("boosted").predict(frame)
    figures: Figures = []
    for name, folder, most in (("compiled", "compiled", 1.0), ("scikit-learn", "fallback", 2.5)):
        image = bench.model(bench.home / folder)
        version = image.labels["mlauto.version"]
        server = servers.place(NAME, version, image.id)

        def answered(image: EngineImage = image, version: str = version) -> None:
            server = servers.run(NAME, version, image)
            servers.wait(server)
            connection = Connection(server.socket, 10.0)
            connection.request("POST", "/rows", rows, {"content-type": "application/json"})
            predictions = json.loads(connection.getresponse().read())["predictions"]
            connection.close()
            if not np.array_equal(predictions, expected):
                raise SystemExit(f"version {version}: {predictions} instead of {expected}")

        seconds = bench.median(answered, lambda server=server: servers.remove(server))  # type: ignore[misc]
        servers.remove(server)
        figures.append((f"container to first correct answer, {name}, s", seconds, "<=", most))
    return figures


def code_and_dependencies(bench: Bench) -> Figures:
    """The team's code, our own code, the lock: each in a checkout of its own."""
    root, tree = bench.home / "checkout", bench.home / "tree"
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (PACKAGE.parent / name).is_dir() else shutil.copy2
        copy(PACKAGE.parent / name, root / name)
    tree.mkdir()
    settings = dataclasses.replace(bench.settings, cache=bench.home / "cache")
    shutil.copytree(bench.shared.cache / "wheels", settings.cache / "wheels", copy_function=_linked)
    own = Flavours(settings, bench.engine, root)
    bench.images.workshop(NAME, "0" * 40, tree)
    number = iter(range(1_000_000))

    def new_file(folder: Path) -> None:
        (folder / "changed.py").write_text(f"number = {next(number)}\n")

    own.get("compiled")
    figures: Figures = [
        (
            "only the team's code changed, s",
            bench.median(lambda: bench.images.workshop(NAME, "0" * 40, tree), lambda: new_file(tree)),
            "<=",
            3,
        ),
        (
            "only our server's code changed, s",
            bench.median(lambda: own.get("compiled"), lambda: new_file(root / "mlauto" / "serving")),
            "<=",
            3,
        ),
    ]
    for name, lock, largest in (("compiled", "serving", "numpy"), ("sklearn", "sklearn", "scipy")):
        path = root / f"requirements-{lock}.lock"
        shutil.rmtree(settings.cache / "parts", ignore_errors=True)
        new_wheel(settings.cache, path, largest, next(number))
        all_new = bench.median(lambda name=name: own.get(name), repeats=1)  # type: ignore[misc]
        one_new = bench.median(
            lambda name=name: own.get(name),  # type: ignore[misc]
            lambda path=path, largest=largest: new_wheel(settings.cache, path, largest, next(number)),  # type: ignore[misc]
            repeats=3,
        )
        figures += [
            (f"dependencies changed, wheels there: {largest} of {name}, s", one_new, "<=", 8),
            (f"dependencies changed, wheels there: all of {name} at once, s", all_new, "<=", 8),
        ]
    return figures


def new_wheel(cache: Path, lock: Path, name: str, number: int) -> None:
    """Have another wheel of that distribution, with one module more, in the cache and in the lock."""
    entry = next(one for one in locked(lock.read_text()) if one.name == name)
    (kept,) = (path for one in entry.hashes for path in (cache / "wheels").glob(f"*/{one}/*.whl"))
    made = cache / kept.name
    shutil.copy2(kept, made)
    with zipfile.ZipFile(made, "a") as archive:
        archive.writestr(f"changed_{name}_{number}.py", f"number = {number}\n")
    digest = file_digest(made)
    (kept.parents[1] / digest).mkdir()
    made.rename(kept.parents[1] / digest / kept.name)
    text = f"{entry.name}=={entry.version} \\\n    --hash=sha256:{digest}"
    lock.write_text(lock.read_text().replace(entry.text, text))


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def sizes(bench: Bench) -> Figures:
    """MB on top of the base."""
    base = bench.base().size
    return [
        ("size over the base, compiled, MB", (bench.flavours.get("compiled").size - base) / MB, "<=", 80),
        ("size over the base, scikit-learn, MB", (bench.flavours.get("sklearn").size - base) / MB, "<=", 450),
    ]


def mlflow(bench: Bench, ours: float) -> Figures:
    """MLflow's recipe: its first build, and one after only the model changed."""
    script = Path(__file__).parent / "peers" / "mlflow_save.py"
    source, saved, context = bench.home / "fallback" / "model.skops", bench.home / "saved", bench.home / "recipe"
    quiet = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    subprocess.run([sys.executable, script, source, saved], check=True, env=quiet, capture_output=True)
    program = [sys.executable, "-m", "mlflow", "models", "generate-dockerfile", "-m", str(saved), "-d", str(context)]
    subprocess.run(program, check=True, env=quiet, capture_output=True)
    recipe = context / "Dockerfile"
    head, _, rest = recipe.read_text().partition("FROM ")
    recipe.write_text(f"{head}FROM {bench.settings.base_image} AS whole\n{INTERPRETER}{rest.partition(chr(10))[2]}")
    shutil.copy2(CERTIFICATES, context / "certificates.crt")
    weights = context / "model_dir" / saved.name / "weights.bin"
    build = Build(
        context=context,
        dockerfile="Dockerfile",
        target="whole",
        tag="mlauto/bench-mlflow:1",
        arguments={"PIP_CERT": str(CERTIFICATES)},
        labels={HOME_LABEL: str(bench.settings.home)},
        network="host",
    )
    weights.write_bytes(os.urandom(MB))
    began = time.perf_counter()
    first = bench.engine.build(build)
    whole = time.perf_counter() - began
    changed = bench.median(lambda: bench.engine.build(build), lambda: weights.write_bytes(os.urandom(MB)), repeats=1)
    ours_mb = (bench.flavours.get("sklearn").size - bench.base().size) / MB
    theirs_mb = (first.size - bench.base().size) / MB
    return [
        ("MLflow's recipe: first build, s", whole, ">=", 0),
        ("MLflow's recipe: only the model changed, s", changed, ">=", 0),
        ("times faster than that, the same pipeline", changed / ours, ">=", 20),
        ("MLflow's image over the base, MB", theirs_mb, ">=", ours_mb),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="mlauto-image-") as scratch:
        bench = Bench(Path(scratch), 3 if options.quick else 9)
        try:
            figures, fallback = models(bench)
            print(f"models done: {fallback:.2f} s with scikit-learn", file=sys.stderr)
            figures += starts(bench)
            figures += code_and_dependencies(bench) + sizes(bench)
            print("code and dependencies done; MLflow's recipe takes minutes", file=sys.stderr)
            figures += mlflow(bench, fallback)
        finally:
            bench.clean()
    holds = [value >= target if sign == ">=" else value <= target for _, value, sign, target in figures]
    table = Table("figure", "measured", "target", "holds")
    for (name, value, sign, target), good in zip(figures, holds, strict=True):
        table.add_row(name, f"{value:,.2f}", f"{sign} {target:,.4g}", "yes" if good else "NO")
    Console(highlight=False).print(table)
    if options.json:
        found = {name: {"measured": value, "target": f"{sign} {target:g}"} for name, value, sign, target in figures}
        options.json.write_text(json.dumps({"figures": found}, indent=2))
    return 0 if all(holds) else 1


if __name__ == "__main__":
    raise SystemExit(main())
