"""The model server: one bundle, one process, one thread that predicts.

`python -m mlauto.serving.server --bundle DIR (--socket PATH | --host HOST --port PORT) [--parent PID]`

| request                                                  | reply                                              |
|----------------------------------------------------------|----------------------------------------------------|
| `GET /v2`, `/v2/health/live`, `/v2/health/ready`         | server metadata; 200 once the model answers        |
| `GET /v2/models/{name}[/versions/{v}][/ready]`           | metadata of the model                              |
| `POST /v2/models/{name}[/versions/{v}]/infer`            | Open Inference Protocol                            |
| `POST /invocations`, `/v2/models/{name}/invocations`     | MLflow's formats                                   |
| `GET /signature`, `POST /rows`                           | what the gateway asks: columns; rows -> answers    |

Where `MLAUTO_API_KEY` is set (see `keys`), all but the health asks for one; the gateway's model servers never see it.
"""

import argparse
import asyncio
import gc
import os
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from mlauto.serving import bundle as bundles
from mlauto.serving.errors import BundleError, RequestError, ServingError
from mlauto.serving.modelway import ModelWay, QuickModel
from mlauto.serving.processes.forks import end_with_parent
from mlauto.serving.web.front import LARGEST_BODY, Front
from mlauto.serving.web.http import ClientGoneError, Receive, Scope, Send, body_of, reply, reply_error, server
from mlauto.serving.web.keys import Keys, keyed
from mlauto.serving.web.sockets import listen_tcp, listen_unix
from mlauto.serving.wire.bodies import EXTENSIONS, are_plain, parser_for
from mlauto.serving.wire.invocations import invocations_reply, parse_rows
from mlauto.serving.wire.protocol import Answer, Request, infer_reply, metadata

__all__ = ["Model", "ModelApp", "load", "main", "serve"]

AT_ONCE_SECONDS = 0.002  # the loop may be busy for so long with one request's rows


class Model(Protocol):
    """What a flavour offers; the plan of a compiled model is another one."""

    def answer(self, rows: list[dict[str, Any]]) -> Answer:
        """One prediction per row. Raises `ServingError`."""
        ...


class ModelApp:
    """The ASGI application around one model."""

    def __init__(self, bundle: bundles.Bundle, model: Model) -> None:
        self._bundle = bundle
        self._model = model
        self._name = bundle.manifest.name
        self._version = bundle.manifest.version
        self._headers = [(b"x-mlauto-version", self._version.encode())]
        # one thread: predictions of this process do not run beside each other, and the loop stays free for health
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="predict")
        self._working = 0
        self._row_seconds = 1.0  # what a row cost at most, of late; pessimistic before anything is known
        self._way = ModelWay(bundle, model) if isinstance(model, QuickModel) else None

    def front(self, keys: Keys | None = None) -> type[Front] | None:
        """The short way for a compiled model; a team's own code may take its time, and gets a thread."""
        return None if self._way is None else Front.with_short(self._way, keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every `ServingError` becomes its sentence."""
        try:
            await self._route(scope, receive, send)
        except ServingError as error:
            await reply_error(send, error, headers=self._headers)
        except ClientGoneError:
            return

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"].rstrip("/"), scope["method"]
        parts = path.split("/")[1:]
        own = parts[3:] if parts[:3] == ["v2", "models", self._name] else None
        if own is not None and own[:1] == ["versions"]:
            if own[1:2] != [self._version]:
                raise RequestError(
                    f"version {own[1][:64] if own[1:] else ''!r} is not here: this is {self._version!r}", 404
                )
            own = own[2:]
        if method == "GET":
            await self._get(path, own, send)
        elif method == "POST":
            await self._post(path, own, scope, await body_of(scope, receive), send)
        else:
            raise RequestError(f"method {method[:20]} is not supported: use GET or POST", 405)

    async def _get(self, path: str, own: list[str] | None, send: Send) -> None:
        if path in ("/v2/health/live", "/v2/health/ready") or own == ["ready"]:
            await reply(send, {"live" if path.endswith("live") else "ready": True}, headers=self._headers)
        elif path == "/v2":
            await reply(send, {"name": "mlauto-model", "version": self._version, "extensions": EXTENSIONS})
        elif own == []:
            await reply(send, metadata(self._name, [self._version], self._bundle.signature), headers=self._headers)
        elif path == "/signature":
            await reply(send, self._bundle.signature, headers=[*self._headers, (b"x-mlauto-name", self._name.encode())])
        else:
            raise RequestError(f"{path[:200] or '/'} is not here: this is the model {self._name}, see /v2", 404)

    async def _post(self, path: str, own: list[str] | None, scope: Scope, body: bytes, send: Send) -> None:
        if self._way is not None and len(body) <= LARGEST_BODY and are_plain(scope["headers"]):
            # what came in several pieces is answered as what came in one
            found = await self._way.reply(path, body)
            if found is not None:
                status, content, keep = found
                headers = self._headers if keep else [*self._headers, (b"connection", b"close")]
                await reply(send, content, status=status, headers=headers)
                return
        if path == "/rows":
            request = parse_rows(body, self._bundle.signature)
            await reply(send, await self._answer(request), headers=self._headers)
        elif own == ["infer"]:
            request = (await parser_for("infer", scope["headers"], body))(body, self._bundle.signature)
            answer = await self._answer(request)
            content = infer_reply(
                answer,
                request,
                self._bundle.signature,
                name=self._name,
                version=self._version,
                prediction_id=request.client_id,
            )
            await reply(send, content, headers=self._headers)
        elif path == "/invocations" or own == ["invocations"]:
            request = (await parser_for("invocations", scope["headers"], body))(body, self._bundle.signature)
            answer = await self._answer(request)
            content = invocations_reply(
                answer, request, self._bundle.signature, version=self._version, prediction_id=request.client_id
            )
            await reply(send, content, headers=self._headers)
        else:
            raise RequestError(f"{path[:200] or '/'} takes no POST: this is the model {self._name}, see /v2", 404)

    async def _answer(self, request: Request) -> Answer:
        """Handing rows to the thread and back costs more than a compiled model needs for them: those are done here."""
        rows = request.rows
        if not self._working and len(rows) * self._row_seconds < AT_ONCE_SECONDS:
            return self._timed(rows)
        self._working += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, self._timed, rows)
        finally:
            self._working -= 1

    def _timed(self, rows: list[dict[str, Any]]) -> Answer:
        began = time.perf_counter()
        answer = self._model.answer(rows)
        self._learn(time.perf_counter() - began, len(rows))
        return answer

    def _learn(self, seconds: float, rows: int) -> None:
        """Slower is believed at once, faster in time."""
        self._row_seconds = max(seconds / rows, 0.9 * self._row_seconds)


def load(root: Path) -> ModelApp:
    """Verify, load and warm the bundle. Raises `ServingError` when it is damaged or cannot answer its golden rows."""
    bundle = bundles.read(root)
    model: Model = _compiled(bundle) if bundle.manifest.flavour == "compiled" else _sklearn(bundle)
    rows = bundle.golden_rows()
    for some in (rows, rows[:1]):
        if some:
            model.answer(some)
    return ModelApp(bundle, model)


def _compiled(bundle: bundles.Bundle) -> Model:
    from mlauto.serving.plan.model import PlanModel

    return PlanModel(bundle.root)


def _sklearn(bundle: bundles.Bundle) -> Model:
    _import_pandas_alone()
    from mlauto.serving import trust
    from mlauto.serving.model import SklearnModel

    trust.import_skops_quickly()
    return SklearnModel(bundle)


def _import_pandas_alone() -> None:
    """Import pandas without pyarrow, which it takes wherever it finds it (0.1 s, 30 MB) and a server never needs."""
    if "pandas" in sys.modules or "pyarrow" in sys.modules:
        return
    sys.modules["pyarrow"] = None  # type: ignore[assignment]
    try:
        import pandas  # noqa: F401 -- the import is what is wanted
    finally:
        del sys.modules["pyarrow"]


async def serve(app: ModelApp, listener: socket.socket, keys: Keys | None = None) -> None:
    """Answer, whoever shows a key where there are any, until SIGTERM or SIGINT; then finish the requests in flight."""
    # the gateway keeps its connections: closing idle ones would only cost it new ones
    running = server(keyed(app, keys), keep_alive=86_400, protocol=app.front(keys))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, setattr, running, "should_exit", True)
    await running.serve(sockets=[listener])


def main(argv: list[str] | None = None) -> int:
    """Run a model server; exit code 1 and a sentence when the bundle cannot be served."""
    parser = argparse.ArgumentParser(prog="python -m mlauto.serving.server", description="Serve one bundle.")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--socket", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int)
    parser.add_argument("--parent", type=int, help="end when this process ends")
    options = parser.parse_args(argv)
    if (options.socket is None) == (options.port is None):
        parser.error("give either --socket or --port")
    # before numpy and OpenMP read it: threads that wait for one another cost more than they bring at one row
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if options.parent is not None:
        end_with_parent(options.parent)
    try:
        keys = Keys.of()
        app = load(options.bundle)
        listener = listen_unix(options.socket) if options.socket else listen_tcp(options.host, options.port)
    except (ServingError, BundleError, ValueError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    import uvloop

    gc.collect()
    gc.freeze()  # what was loaded stays: looking through it again and again would only keep requests waiting
    uvloop.run(serve(app, listener, keys))
    return 0


if __name__ == "__main__":
    sys.exit(main())
