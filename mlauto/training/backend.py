"""The engine that joblib's parallel work is handed to: this process, a Dask cluster or a Ray cluster that is there.

A cluster runs whatever is sent to it, as pickles, and so does who takes its answers: it is the team's own and trusted.
The team's code travels by value, so that the commit's tree is what runs, whatever a worker has installed.
"""

import importlib.util
import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mlauto.errors import TrainingError
from mlauto.training.by_value import by_value, dask_backend

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["parallel"]

CONNECT_SECONDS = 10.0
SAME = ("numpy", "pandas", "scikit-learn", "scipy", "joblib", "cloudpickle")  # here and on the workers
CONTAINED = "a training in a container reaches no network: there, only local will do"


@contextmanager
def parallel(backend: str, address: str, root: Path | None = None, share: Sequence[Any] = ()) -> Iterator[None]:
    """While it lasts, what this thread does by joblib, scikit-learn's own included, is done by the engine.

    `root` is where the team's packages are imported from; `share` is sent to all workers once. Raises `TrainingError`
    naming `training.backend` when the engine is not installed, not reachable, or not of the same versions.
    """
    if backend == "local":
        yield
        return
    name, extra, variable = {
        "joblib-dask": ("distributed", "dask", "MLAUTO_DASK_ADDRESS"),
        "joblib-ray": ("ray", "ray", "RAY_ADDRESS"),
    }[backend]
    if importlib.util.find_spec(name) is None:
        raise TrainingError(
            f"training.backend is {backend}, and {name} is not installed where the training runs: "
            f"pip install 'mlauto[{extra}]' there; {CONTAINED}"
        )
    if not address:
        raise TrainingError(f"training.backend is {backend}: set {variable} to the cluster's address")
    with _dask(address, share, root) if extra == "dask" else _ray(address, root):
        yield


@contextmanager
def _dask(address: str, share: Sequence[Any], root: Path | None) -> Iterator[None]:
    import cloudpickle
    import joblib
    from distributed import Client

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters is raised
    shown = _shown(address)
    try:
        _knock(address)
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False, name="mlauto")
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"training.backend is joblib-dask, and no scheduler answers at {shown} ({_first(error, address)}): "
            f"start one with 'dask scheduler', or correct MLAUTO_DASK_ADDRESS; {CONTAINED}"
        ) from error
    with client, by_value(cloudpickle, root):
        _check_workers(client, shown)
        with joblib.parallel_config(backend=dask_backend(client, share), n_jobs=-1):
            yield


def _versions(packages: Sequence[str]) -> dict[str, str]:
    """What is installed in this process; runs on workers, so by itself."""
    import importlib.metadata
    import importlib.util
    import platform

    found = {"Python": ".".join(platform.python_version_tuple()[:2])}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "none"
    return {**found, "mlauto": "there" if importlib.util.find_spec("mlauto") else "none"}


def _check_workers(client: "Client", shown: str) -> None:
    if not client.nthreads():
        raise TrainingError(
            f"training.backend is joblib-dask, and the scheduler at {shown} has no workers: "
            f"start some with 'dask worker {shown}'"
        )
    ours = _versions(SAME)
    for worker, theirs in client.run(_versions, SAME).items():
        for name, version in ours.items():
            if theirs[name] != version:
                raise TrainingError(
                    f"training.backend is joblib-dask, and the worker {worker} has {name} {theirs[name]} where "
                    f"{version} is here: models would differ; install the same there"
                )


@contextmanager
def _ray(address: str, root: Path | None) -> Iterator[None]:
    import joblib
    import ray
    from ray.util.joblib import register_ray

    shown = _shown(address)
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (OSError, ValueError, RuntimeError) as error:
        raise TrainingError(
            f"training.backend is joblib-ray, and no cluster answers at {shown} ({_first(error, address)}): "
            f"start one with 'ray start --head', or correct RAY_ADDRESS; {CONTAINED}"
        ) from error
    try:
        register_ray()
        with by_value(ray.cloudpickle, root), joblib.parallel_config(backend="ray", n_jobs=-1):
            yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise `OSError` or `ValueError` where nobody listens: Dask's client would leave threads, Ray's try a minute."""
    place = urlsplit(f"//{address.rpartition('://')[2]}")
    if place.hostname is None or place.port is None:
        raise ValueError("it is not scheme://host:port")
    socket.create_connection((place.hostname, place.port), CONNECT_SECONDS).close()


def _shown(address: str) -> str:
    """The address without a user's name and password."""
    scheme, found, rest = address.rpartition("://")
    return f"{scheme}{found}{rest.rpartition('@')[2]}"


def _first(error: Exception, address: str) -> str:
    """What went wrong, in a line, likewise."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    secret = address.rpartition("://")[2].rpartition("@")[0]
    return line.replace(secret, "...") if secret else line
