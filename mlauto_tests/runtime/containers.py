"""Tiny compiled models for images, users who ask them, and images of ours that misbehave."""

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import numpy as np

from mlauto.records import Image
from mlauto.runtime.docker import DockerRuntime
from mlauto.runtime.docker_engine import DockerEngine
from mlauto.runtime.engine import HOME_LABEL, Build
from mlauto.runtime.flavours import KIND_LABEL
from mlauto.runtime.images import PRODUCT_LABEL, VERSION_LABEL
from mlauto.runtime.maker import KEY_LABEL
from mlauto.serving.bundle import write_manifest
from mlauto.serving.plan import format as formats
from mlauto.serving.plan.format import Linear, Numbers, Plan

ROW = {"x": 1.0, "y": 0.5}
KEY = "k" * 64


def bundle(root: Path, version: str) -> Path:
    """A compiled bundle of the product `lines` that answers 2 x + y + 1000 times its version."""
    root.mkdir(parents=True)
    plan = Plan(columns=("x", "y"), steps=(Numbers((0, 1)),), estimator=Linear(2, "identity"))
    arrays = {"coefficients": np.array([[2.0, 1.0]]), "intercept": np.array([1000.0 * int(version)])}
    formats.write(root, plan, arrays)
    signature = {"columns": {"x": "number", "y": "number"}, "task": "regression", "classes": []}
    (root / "signature.json").write_text(json.dumps(signature))
    (root / "golden.json").write_text(json.dumps({"rows": [ROW], "predictions": [answer(version)]}))
    write_manifest(root, name="lines", version=version, commit="c" * 40, key=KEY, flavour="compiled")
    return root


def answer(version: str) -> float:
    """What that version says to `ROW`."""
    return 2.5 + 1000.0 * int(version)


def misbehaving(engine: DockerEngine, image: Image, folder: Path, home: str, entrypoint: Sequence[str]) -> Image:
    """An image that says that it is the same version, and does something else when it is run."""
    folder.mkdir(exist_ok=True)
    words = json.dumps(list(entrypoint))
    (folder / "Dockerfile").write_text(f"FROM {image.digest} AS only\nENTRYPOINT {words}\n")
    labels = {HOME_LABEL: home, PRODUCT_LABEL: "lines", VERSION_LABEL: image.version, KEY_LABEL: image.key}
    tag = f"mlauto-test-{os.getpid()}:{folder.name}"
    made = engine.build(Build(context=folder, dockerfile="Dockerfile", target="only", tag=tag, labels=labels))
    return replace(image, digest=made.id, reference=made.id)


def remove_images(engine: DockerEngine, home: str) -> None:
    """Remove the images of models and commits of this state directory; what they stand on is of use to others."""
    found = [image for kind in ("model", "code") for image in engine.images({HOME_LABEL: home, KIND_LABEL: kind})]
    for image in sorted(found, key=lambda one: len(one.layers), reverse=True):
        for name in image.tags or (image.id,):
            engine.remove_image(name)


def container(runtime: DockerRuntime, version: str) -> str:
    """The name of the container behind the gateway's version of `lines`."""
    image = runtime._versions("lines")[version]["image"]
    return runtime._servers.place("lines", version, image).name


@dataclass
class Users:
    """What came of their requests: how many each version answered, and what went wrong."""

    answered: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def note(self, version: str, seconds: float) -> None:
        self.answered[version] += 1
        self.slowest = max(self.slowest, seconds)


@contextmanager
def users(port: int, *, threads: int = 4, pause: float = 0.004) -> Iterator[Users]:
    """Some hundred requests a second on kept connections; every one must be answered rightly."""
    found = Users()
    over = threading.Event()

    def ask() -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        body = json.dumps({"dataframe_records": [ROW]})
        while not over.is_set():
            began = time.monotonic()
            try:
                headers = {"content-type": "application/json"}
                connection.request("POST", "/v2/models/lines/invocations", body, headers)
                reply = connection.getresponse()
                content = json.loads(reply.read())
                version = str(reply.headers.get("x-mlauto-version"))
                if reply.status != 200 or content["predictions"] != [answer(version)]:
                    found.problems.append(f"{reply.status} {content}")
                found.note(version, time.monotonic() - began)
            except (HTTPException, OSError) as error:
                found.problems.append(repr(error))
                connection.close()
            time.sleep(pause)
        connection.close()

    asking = [threading.Thread(target=ask) for _ in range(threads)]
    for thread in asking:
        thread.start()
    try:
        yield found
    finally:
        over.set()
        for thread in asking:
            thread.join()
