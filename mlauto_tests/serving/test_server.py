"""A model server by itself: both protocols, errors as sentences, damaged bundles refused."""

import asyncio
import json
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlauto.serving import bundle
from mlauto.serving.bundle import write_manifest
from mlauto.serving.server import ModelApp
from mlauto.serving.wire.protocol import Answer, Request
from mlauto_tests.serving.conftest import COLUMNS, ROW, Served, environment, free_port, served
from mlauto_tests.serving.wire_bodies import ARROW, arrow_of, binary_of, outputs_of, table_of

MODULE = "mlauto.serving.server"


@pytest.fixture(scope="module")
def server(bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The classifier, served over TCP."""
    port = free_port()
    arguments = [MODULE, "--bundle", str(bundles["skies-1"]), "--port", str(port)]
    with served(arguments, port, tmp_path_factory.mktemp("server") / "log", "/v2/health/ready") as found:
        yield found


def tensors(**columns: list[object]) -> dict[str, object]:
    kinds = {"number": "FP64", "integer": "INT64", "boolean": "BOOL", "string": "BYTES"}
    return {
        "inputs": [
            {"name": name, "shape": [len(values)], "datatype": kinds[COLUMNS[name]], "data": values}
            for name, values in columns.items()
        ]
    }


def started(bundle: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """A server that is expected to refuse its bundle."""
    command = [sys.executable, "-m", MODULE, "--bundle", str(bundle), "--socket", str(tmp_path / "socket")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment(), check=False)


def test_both_protocols_give_the_same_answers(server: Served) -> None:
    """A tensor per column and a record per row are the same question; labels come back as they were in training."""
    columns = {name: [value, None] for name, value in ROW.items()}
    infer = server.post("/v2/models/skies/infer", {"id": "mine", **tensors(**columns)}).json()
    invoked = server.post("/invocations", {"dataframe_records": [ROW, {}]}).json()
    predict, probabilities = infer["outputs"]

    assert (infer["model_name"], infer["model_version"], infer["id"]) == ("skies", "1", "mine")
    assert (predict["name"], predict["datatype"], predict["shape"]) == ("predict", "BYTES", [2])
    assert predict["data"] == invoked["predictions"]
    assert set(predict["data"]) <= {"no", "yes"}
    assert probabilities["shape"] == [2, 2]
    assert probabilities["parameters"] == {"classes": ["no", "yes"]}
    assert sum(probabilities["data"]) == pytest.approx(2)


def test_metadata_names_columns_and_version(server: Served) -> None:
    """Inputs are the signature's columns with their datatypes; the version is in body and header."""
    reply = server.client.get("/v2/models/skies")

    assert reply.headers["x-mlauto-version"] == "1"
    assert reply.json()["versions"] == ["1"]
    assert [(i["name"], i["datatype"]) for i in reply.json()["inputs"]] == [
        ("temp", "FP64"),
        ("hour", "INT64"),
        ("holiday", "BOOL"),
        ("sky", "BYTES"),
    ]
    assert server.client.get("/v2/models/skies/versions/1/ready").json() == {"ready": True}
    assert server.client.get("/signature").json()["columns"] == COLUMNS
    assert server.client.get("/v2").json()["version"] == "1"


def test_binary_tensors_give_the_same_answer(server: Served) -> None:
    """In and out; the server says that it can."""
    plain = server.post("/invocations", {"dataframe_records": [ROW]}).json()
    body, headers = binary_of(ROW, parameters={"binary_data_output": True})
    reply = server.client.post("/v2/models/skies/infer", content=body, headers=headers)
    outputs = outputs_of(reply.content, int(reply.headers["inference-header-content-length"]))

    assert server.client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert reply.headers["content-type"] == "application/octet-stream"
    assert outputs["predict"] == b"\2\0\0\0" + plain["predictions"][0].encode()
    assert sum(struct.unpack("<2d", outputs["probabilities"])) == pytest.approx(1)


def test_arrow_gives_the_same_answer(server: Served) -> None:
    """As body, as reply, as both; probabilities come along."""
    plain = server.post("/invocations", {"dataframe_records": [ROW, ROW]})
    rows = arrow_of([ROW, ROW])
    for path in ("/invocations", "/v2/models/skies/versions/1/invocations"):
        asked = server.client.post(path, content=rows, headers={"content-type": ARROW})
        both = server.client.post(path, content=rows, headers={"content-type": ARROW, "accept": ARROW})
        wanted = server.client.post(path, json={"instances": [ROW, ROW]}, headers={"accept": ARROW})
        assert asked.json() == plain.json()
        assert both.headers["content-type"] == wanted.headers["content-type"] == ARROW
        assert both.content == wanted.content
        assert table_of(both.content)["prediction"] == plain.json()["predictions"]
        assert list(table_of(both.content)) == ["prediction", "probability_no", "probability_yes"]


@pytest.mark.parametrize(
    ("headers", "content", "status", "words"),
    [
        ({"inference-header-content-length": "3"}, b"{}", 400, "'3' is no length within 2 bytes"),
        ({"inference-header-content-length": "2"}, b"{}", 400, "inputs"),
        ({"content-type": ARROW}, b"{}", 415, "send Arrow to invocations"),
    ],
)
def test_mistakes_in_other_forms_have_sentences_too(
    server: Served, headers: dict[str, str], content: bytes, status: int, words: str
) -> None:
    """As JSON, whatever the request was."""
    reply = server.client.post("/v2/models/skies/infer", content=content, headers=headers)

    assert reply.status_code == status
    assert words in reply.json()["error"]


def test_limits_and_categories_hold_in_every_form(copied: Callable[[str], Path], tmp_path: Path) -> None:
    """400 that names column, value and what is allowed; the metadata says it before."""
    bundle = copied("bikes-1")
    signature = {"columns": COLUMNS, "task": "regression", "classes": [], "limits": {"hour": [0, 23]}}
    (bundle / "signature.json").write_text(json.dumps({**signature, "categories": {"sky": ["clear", "rain"]}}))
    write_manifest(bundle, name="bikes", version="1", commit="c" * 40, key="k" * 64)
    port = free_port()
    row, sentence = {**ROW, "hour": 24}, "column 'hour' takes values from 0 to 23, not the number 24"
    with served([MODULE, "--bundle", str(bundle), "--port", str(port)], port, tmp_path / "log", "/v2") as found:
        body, headers = binary_of(row)
        replies = [
            found.post("/rows", [row]),
            found.post("/invocations", {"instances": [row]}),
            found.post("/v2/models/bikes/infer", tensors(**{name: [value] for name, value in row.items()})),
            found.client.post("/v2/models/bikes/infer", content=body, headers=headers),
            found.client.post("/invocations", content=arrow_of([row]), headers={"content-type": ARROW}),
        ]
        fog = found.post("/invocations", {"instances": [{**ROW, "sky": "fog"}]})
        good = found.post("/invocations", {"instances": [ROW, {}]})
        said = found.client.get("/v2/models/bikes").json()["parameters"]

    assert [(reply.status_code, sentence in reply.json()["error"]) for reply in replies] == [(400, True)] * 5
    assert "takes one of 'clear', 'rain', not the text 'fog'" in fog.json()["error"]
    assert good.status_code == 200
    assert (said["limits"], said["categories"]) == ({"hour": [0, 23]}, {"sky": ["clear", "rain"]})


def test_rows_are_what_the_gateway_asks(server: Served) -> None:
    """The plain list of rows gives predictions and probabilities, one per row."""
    reply = server.post("/rows", [ROW, ROW, {"sky": "never seen"}]).json()

    assert len(reply["predictions"]) == 3
    assert reply["predictions"][0] == reply["predictions"][1]
    assert [len(row) for row in reply["probabilities"]] == [2, 2, 2]


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/v2/models/other/infer", 404, "this is the model skies"),
        ("/v2/models/skies/versions/9/infer", 404, "'9' is not here"),
        ("/nowhere", 404, "takes no POST"),
        ("/invocations", 400, "not valid JSON"),
        ("/v2/models/skies/infer", 400, "not valid JSON"),
    ],
)
def test_mistakes_are_answered_with_a_sentence(server: Served, path: str, status: int, words: str) -> None:
    """4xx and a JSON error, never a traceback."""
    reply = server.post(path, b"{")

    assert reply.status_code == status
    assert words in reply.json()["error"]


def test_an_unknown_method_and_path_are_refused(server: Served) -> None:
    """405 for methods, 404 for paths."""
    assert server.client.delete("/v2").status_code == 405
    assert server.client.get("/v3").status_code == 404


def test_a_changed_file_is_noticed_before_it_is_parsed(copied: Callable[[str], Path], tmp_path: Path) -> None:
    """One flipped byte in the model file: the server does not start, and says which file."""
    bundle = copied("bikes-1")
    content = bytearray((bundle / "model.skops").read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / "model.skops").write_bytes(content)
    done = started(bundle, tmp_path)

    assert done.returncode == 1
    assert "model.skops in the bundle" in done.stderr
    assert "was changed after it was built" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_smuggled_in_is_noticed(copied: Callable[[str], Path], tmp_path: Path) -> None:
    """A module that no manifest lists would be importable: the bundle is refused."""
    bundle = copied("bikes-1")
    (bundle / "code" / "src" / "sklearn.py").write_text("raise SystemExit(77)")
    done = started(bundle, tmp_path)

    assert done.returncode == 1
    assert "code/src/sklearn.py is not listed" in done.stderr


def test_a_model_with_a_foreign_type_is_refused(copied: Callable[[str], Path], tmp_path: Path) -> None:
    """A pipeline that holds a function of the standard library does not load, even if the manifest trusts it."""
    import shutil as harmless

    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    bundle = copied("bikes-1")
    skops.io.dump(FunctionTransformer(harmless.rmtree), bundle / "model.skops")
    write_manifest(bundle, name="bikes", version="1", commit="c", key="k", trusted=["shutil.rmtree"])
    done = started(bundle, tmp_path)

    assert done.returncode == 1
    assert "shutil.rmtree" in done.stderr
    assert "not trusted" in done.stderr


def test_a_model_that_cannot_answer_its_golden_rows_does_not_start(
    copied: Callable[[str], Path], tmp_path: Path
) -> None:
    """The server is ready only after its golden rows were answered."""
    import skops.io
    from sklearn.linear_model import Ridge

    bundle = copied("bikes-1")
    skops.io.dump(Ridge().fit([[1.0], [2.0]], [1.0, 2.0]), bundle / "model.skops")
    write_manifest(bundle, name="bikes", version="1", commit="c", key="k")
    done = started(bundle, tmp_path)

    assert done.returncode == 1
    assert "the model refuses these values" in done.stderr


def test_it_leaves_no_file_in_the_bundle(server: Served, bundles: dict[str, Path]) -> None:
    """Importing the team's code writes no bytecode into the bundle, which would no longer match its manifest."""
    assert server.client.get("/v2/health/live").status_code == 200
    assert not list(bundles["skies-1"].rglob("__pycache__"))


def test_it_ends_with_its_parent(bundles: dict[str, Path], tmp_path: Path) -> None:
    """A server whose parent is already gone does not stay."""
    command = [sys.executable, "-m", MODULE, "--bundle", str(bundles["bikes-1"]), "--socket", str(tmp_path / "s")]
    done = subprocess.run(
        [*command, "--parent", "1"], capture_output=True, text=True, timeout=60, env=environment(), check=False
    )

    assert done.returncode == 1
    assert "is gone" in done.stderr


def test_either_a_socket_or_a_port_is_needed(bundles: dict[str, Path]) -> None:
    """Neither, or both, is a mistake in the command line."""
    done = subprocess.run(
        [sys.executable, "-m", MODULE, "--bundle", str(bundles["bikes-1"])],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        check=False,
    )

    assert done.returncode == 2
    assert "either --socket or --port" in done.stderr


class Watched:
    """A model that takes `pause` seconds for every row and remembers in which thread it was asked."""

    def __init__(self, pause: float = 0.0) -> None:
        self.pause = pause
        self.threads: list[threading.Thread] = []

    def answer(self, rows: list[dict[str, object]]) -> Answer:
        self.threads.append(threading.current_thread())
        time.sleep(self.pause * len(rows))
        return Answer([0.0] * len(rows))


def test_what_is_quick_is_answered_on_the_spot(bundles: dict[str, Path]) -> None:
    """Only what is known to take less than two milliseconds, and never beside what the thread is doing."""
    model = Watched()
    app = ModelApp(bundle.read(bundles["bikes-1"]), model)

    async def scenario() -> None:
        here = threading.current_thread()
        for _ in range(200):
            await app._answer(Request([ROW]))
        assert model.threads[0] is not here
        assert model.threads[-1] is here

        model.pause = 0.01
        await app._answer(Request([ROW]))
        assert model.threads[-1] is here  # nobody could know
        await app._answer(Request([ROW]))
        assert model.threads[-1] is not here

        model.pause = 0.0
        for _ in range(200):
            await app._answer(Request([ROW]))
        assert model.threads[-1] is here
        model.pause = 0.00001
        large = asyncio.create_task(app._answer(Request([ROW] * 20_000)))
        await asyncio.sleep(0.01)
        assert len((await app._answer(Request([ROW]))).predictions) == 1
        await large
        assert [thread is here for thread in model.threads[-2:]] == [False, False]

    asyncio.run(scenario())
