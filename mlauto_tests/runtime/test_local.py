"""Bundles become images, images become processes, and the public port says who answers."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlauto.errors import DeliveryError
from mlauto.records import Image
from mlauto.runtime.base import Route, Runtime
from mlauto.runtime.local import LocalRuntime
from mlauto.serving.bundle import write_manifest
from mlauto.settings import Settings
from mlauto_tests.serving.conftest import ROW

Copied = Callable[[str], Path]


def built(runtime: LocalRuntime, copied: Copied, name: str) -> Image:
    product, version = name.rsplit("-", 1)
    return runtime.build(product, version, "key", copied(name))


def test_a_version_is_built_started_asked_switched_to_and_stopped(runtime: LocalRuntime, copied: Copied) -> None:
    """A rollout of two versions, step by step, as delivery does it."""
    seam: Runtime = runtime
    first, second = built(runtime, copied, "bikes-1"), built(runtime, copied, "bikes-2")

    assert (seam.live("bikes"), seam.running("bikes"), seam.route("bikes")) == (None, {}, None)

    seam.start("bikes", first)
    answer = seam.predict("bikes", "1", [ROW, {"sky": None}])

    assert answer.version == "1"
    assert len(answer.predictions) == 2
    assert answer.probabilities is None
    assert 0 < answer.seconds < 10
    assert (seam.live("bikes"), seam.running("bikes"), seam.route("bikes")) == (None, {"1": "ready"}, None)

    seam.switch("bikes", Route("1"))
    seam.start("bikes", second)
    seam.switch("bikes", Route("2", "1"))

    assert (seam.live("bikes"), seam.route("bikes")) == ("2", Route("2", "1"))
    assert seam.predict("bikes", "2", [ROW]).predictions[0] > 900 > seam.predict("bikes", "1", [ROW]).predictions[0]

    with pytest.raises(DeliveryError, match="answers users"):
        seam.stop("bikes", "2")
    seam.stop("bikes", "1")
    seam.stop("bikes", "1")

    assert seam.running("bikes") == {"2": "ready"}


def test_asking_through_the_runtime_is_no_traffic(runtime: LocalRuntime, settings: Settings, copied: Copied) -> None:
    """Verification leaves no line in the prediction log."""
    runtime.start("skies", built(runtime, copied, "skies-1"))
    answer = runtime.predict("skies", "1", [ROW])

    assert answer.predictions[0] in ("no", "yes")
    assert answer.probabilities is not None
    assert sum(answer.probabilities[0]) == pytest.approx(1)
    assert not (settings.home / "products" / "skies" / "predictions").exists()


def test_starting_again_changes_nothing(runtime: LocalRuntime, copied: Copied) -> None:
    """Start is idempotent: the second one returns at once, and the process is the same."""
    image = built(runtime, copied, "bikes-1")
    runtime.start("bikes", image)
    status = runtime._gateway.status()["products"]["bikes"]["versions"]["1"]
    runtime.start("bikes", image)

    assert runtime._gateway.status()["products"]["bikes"]["versions"]["1"]["pid"] == status["pid"]


def test_a_version_from_another_bundle_replaces_it_without_a_gap(runtime: LocalRuntime, copied: Copied) -> None:
    """The same version built again, while it answers users: it stays champion, in a new process."""
    first = built(runtime, copied, "bikes-1")
    runtime.start("bikes", first)
    runtime.switch("bikes", Route("1"))
    content = Path(first.reference)
    again = content.parent / "again"
    import shutil

    shutil.copytree(content, again)
    (again / "card.md").write_text("# another card")
    write_manifest(again, name="bikes", version="1", commit="c", key="k")
    second = runtime.build("bikes", "1", "key", again)
    before = runtime._gateway.status()["products"]["bikes"]["versions"]["1"]["pid"]
    runtime.start("bikes", second)
    after = runtime._gateway.status()["products"]["bikes"]["versions"]["1"]

    assert second.digest != first.digest
    assert after["pid"] != before
    assert after["bundle"] == second.reference
    assert runtime.live("bikes") == "1"


def test_a_version_that_is_not_ready_is_not_switched_to(runtime: LocalRuntime, copied: Copied) -> None:
    """The champion stays, whatever was wrong with the order."""
    runtime.start("bikes", built(runtime, copied, "bikes-1"))
    runtime.switch("bikes", Route("1"))
    for version, fallback, words in (("2", None, "is not ready"), ("1", "2", "is not ready"), ("1", "1", "its own")):
        with pytest.raises(DeliveryError, match=words):
            runtime.switch("bikes", Route(version, fallback))

    assert runtime.live("bikes") == "1"


def test_a_bundle_that_does_not_start_says_why(runtime: LocalRuntime, copied: Copied) -> None:
    """The tail of the server's log is in the error, and nothing is left running or recorded."""
    import skops.io
    from sklearn.linear_model import Ridge

    content = copied("bikes-1")
    skops.io.dump(Ridge().fit([[1.0], [2.0]], [1.0, 2.0]), content / "model.skops")
    write_manifest(content, name="bikes", version="1", commit="c", key="k")
    image = runtime.build("bikes", "1", "key", content)

    with pytest.raises(DeliveryError, match=r"(?s)exit code 1\n.*the model refuses these values"):
        runtime.start("bikes", image)
    assert runtime.running("bikes") == {}
    assert not runtime._gateway.home.joinpath("state.json").exists()


def test_a_damaged_or_wrong_bundle_is_not_built(runtime: LocalRuntime, copied: Copied, tmp_path: Path) -> None:
    """No manifest, a changed file, another product's bundle: each is refused with its reason."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(DeliveryError, match=r"manifest\.json cannot be read"):
        runtime.build("bikes", "1", "key", tmp_path / "empty")
    content = copied("bikes-1")
    with pytest.raises(DeliveryError, match="is version 1 of bikes, not 7 of cars"):
        runtime.build("cars", "7", "key", content)
    (content / "golden.json").write_text("{}")
    with pytest.raises(DeliveryError, match=r"golden\.json in the bundle .* was changed"):
        runtime.build("bikes", "1", "key", content)


def test_an_image_of_another_kind_is_refused(runtime: LocalRuntime) -> None:
    """A container image is not for this runtime."""
    image = Image(kind="docker", digest="d", reference="r", version="1", key="k")

    with pytest.raises(DeliveryError, match="is a docker"):
        runtime.start("bikes", image)


def test_equal_content_has_an_equal_digest(runtime: LocalRuntime, copied: Copied, tmp_path: Path) -> None:
    """Images are addressed by content: building twice gives the same image."""
    import shutil

    content = copied("bikes-1")
    shutil.copytree(content, tmp_path / "twin")

    assert runtime.build("bikes", "1", "k", content) == runtime.build("bikes", "1", "k", tmp_path / "twin")
    assert not content.exists()


def test_a_start_costs_one_cold_model_server(runtime: LocalRuntime, copied: Copied) -> None:
    """Nothing but the server's own start is waited for; generous, as the machine may be busy."""
    image = built(runtime, copied, "bikes-1")
    runtime.ensure()
    began = time.monotonic()
    runtime.start("bikes", image)

    assert time.monotonic() - began < 15


def test_a_damaged_bundle_is_not_held(runtime: LocalRuntime, copied: Copied) -> None:
    """It is removed, so that it is built again; and there is nothing else to tidy up."""
    image = built(runtime, copied, "bikes-1")
    assert runtime.holds("bikes", image)
    assert runtime.tidy("bikes", [], 0.0) == ()
    Path(image.reference, "golden.json").write_text("{}")

    assert not runtime.holds("bikes", image)
    assert not Path(image.reference).exists()
    assert not runtime.holds("bikes", image)
