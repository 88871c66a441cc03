"""The fake behaves as the seam promises, so that tests which stand on it mean something."""

import json
from pathlib import Path

import pytest

from mlauto.errors import DeliveryError
from mlauto.records import Image
from mlauto.runtime.base import Route, Runtime
from mlauto.runtime.fake import FakeRuntime

ROWS = [{"a": 1.0, "b": None}, {"a": 2.0, "b": "x"}]


@pytest.fixture
def runtime() -> FakeRuntime:
    return FakeRuntime()


def built(runtime: FakeRuntime, folder: Path, version: str = "1") -> Image:
    content = folder / f"content-{version}"
    content.mkdir()
    golden = {"rows": ROWS, "predictions": ["yes", "no"], "probabilities": [[0.9, 0.1], [0.2, 0.8]]}
    (content / "golden.json").write_text(json.dumps(golden))
    (content / "version").write_text(version)
    image = runtime.build("bikes", version, "key", content)
    assert not content.exists()
    return image


def test_it_is_a_runtime(runtime: FakeRuntime) -> None:
    """The fake satisfies the protocol, as mypy sees it and at run time."""
    seam: Runtime = runtime

    assert seam.running("bikes") == {}
    assert seam.live("bikes") is None


def test_golden_rows_get_golden_answers(runtime: FakeRuntime, tmp_path: Path) -> None:
    """A started version answers its golden rows in any order, other rows with 0.0, and without probabilities."""
    image = built(runtime, tmp_path)
    runtime.start("bikes", image)
    answer = runtime.predict("bikes", "1", ROWS[::-1])
    other = runtime.predict("bikes", "1", [{"a": 7}])

    assert answer.predictions == ("no", "yes")
    assert answer.probabilities == ((0.2, 0.8), (0.9, 0.1))
    assert answer.seconds == runtime.seconds
    assert other.predictions == (0.0,)
    assert other.probabilities is None


def test_a_wrong_version_answers_otherwise(runtime: FakeRuntime, tmp_path: Path) -> None:
    """A version listed in `wrong` contradicts its golden rows, so that a verification must notice it."""
    image = built(runtime, tmp_path)
    runtime.wrong.add("1")
    runtime.start("bikes", image)

    assert runtime.predict("bikes", "1", ROWS).predictions == ("not yes", "not no")


def test_a_broken_version_does_not_start(runtime: FakeRuntime, tmp_path: Path) -> None:
    """The sentence given for a broken version is in the error, and the version is not running."""
    image = built(runtime, tmp_path)
    runtime.broken["1"] = "no module named bikes"

    with pytest.raises(DeliveryError, match="no module named bikes"):
        runtime.start("bikes", image)
    assert runtime.running("bikes") == {}


def test_only_ready_versions_are_switched_to(runtime: FakeRuntime, tmp_path: Path) -> None:
    """No part of a route may be played by a version that was not started; a refusal changes nothing."""
    runtime.start("bikes", built(runtime, tmp_path))
    runtime.switch("bikes", Route("1"))
    for version, fallback in (("2", None), ("1", "2")):
        with pytest.raises(DeliveryError, match="version 2 of bikes is not ready"):
            runtime.switch("bikes", Route(version, fallback))

    assert runtime.live("bikes") == "1"
    assert runtime.routes == {"bikes": Route("1")}


def test_the_champion_is_not_stopped(runtime: FakeRuntime, tmp_path: Path) -> None:
    """The version that answers users stays; the fallback may go, and then there is none."""
    for version in ("1", "2"):
        runtime.start("bikes", built(runtime, tmp_path, version))
    runtime.switch("bikes", Route("2", "1"))
    with pytest.raises(DeliveryError, match="answers users"):
        runtime.stop("bikes", "2")
    runtime.stop("bikes", "1")
    runtime.stop("bikes", "1")

    assert runtime.running("bikes") == {"2": "ready"}
    assert runtime.routes["bikes"].fallback is None
    with pytest.raises(DeliveryError, match="not running"):
        runtime.predict("bikes", "1", ROWS)


def test_calls_are_kept_in_order(runtime: FakeRuntime, tmp_path: Path) -> None:
    """A test can assert in which order a rollout did its steps."""
    image = built(runtime, tmp_path)
    runtime.start("bikes", image)
    runtime.predict("bikes", "1", ROWS)
    runtime.switch("bikes", Route("1"))

    assert [name for name, *_ in runtime.calls] == ["build", "start", "predict", "switch"]
    assert runtime.images[image.digest].version == "1"


def test_counts_are_what_a_test_says(runtime: FakeRuntime) -> None:
    """None without a gateway, as before anything was started."""
    assert runtime.metrics() is None
    runtime.counted = "up 1"
    assert runtime.metrics() == "up 1"


def test_what_is_not_kept_is_tidied_away(runtime: FakeRuntime, tmp_path: Path) -> None:
    """But for what runs; another product's images are its own."""
    images = {version: built(runtime, tmp_path, version) for version in ("1", "2", "3")}
    runtime.start("bikes", images["2"])

    assert runtime.tidy("cars", [], 0.0) == ()
    assert runtime.tidy("bikes", [images["3"]], 0.0) == ("1",)
    assert [runtime.holds("bikes", image) for image in images.values()] == [False, True, True]
    assert runtime.calls[-1] == ("tidy", "bikes", "3")
