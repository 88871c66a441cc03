"""Bills of materials."""

import json
from pathlib import Path

import pytest

from mlauto.errors import DeliveryError
from mlauto.runtime.engine import EngineImage
from mlauto.runtime.fake_engine import FakeEngine
from mlauto.runtime.flavours import DEPENDENCIES_LABEL
from mlauto.runtime.sbom import Sboms
from mlauto.serving.bundle import Manifest
from mlauto.settings import Settings

MANIFEST = Manifest(
    name="bikes", version="3", commit="c" * 40, key="k", files={"plan.json": "a" * 64}, facts={"dataset": "d" * 64}
)
BELOW = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "serialNumber": "urn:uuid:0",
    "components": [{"type": "library", "name": "numpy"}],
}


@pytest.fixture
def parent(fake: FakeEngine) -> EngineImage:
    """An image with a list."""
    fake.said = {"cat": json.dumps(BELOW).encode()}
    return fake.put("flavour:1", {DEPENDENCIES_LABEL: "d" * 64})


def test_a_models_list_is_about_the_model(contained: Settings, fake: FakeEngine, parent: EngineImage) -> None:
    """With its files and where it comes from, on top of what is installed."""
    found = json.loads(Sboms(contained, fake).of_model(parent, MANIFEST))
    model = found["metadata"]["component"]

    assert (model["type"], model["name"], model["version"]) == ("machine-learning-model", "bikes", "3")
    assert {"name": "mlauto:dataset", "value": "d" * 64} in model["properties"]
    assert model["components"][0]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert found["components"] == BELOW["components"]
    assert found["serialNumber"].startswith("urn:uuid:")
    assert found["serialNumber"] != BELOW["serialNumber"]


def test_equal_models_have_equal_lists(contained: Settings, fake: FakeEngine, parent: EngineImage) -> None:
    """So that the layer is the same; the image is asked once."""
    sboms = Sboms(contained, fake)

    assert sboms.of_model(parent, MANIFEST) == sboms.of_model(parent, MANIFEST)
    assert sum(name == "run" for name, _ in fake.calls) == 1


def test_a_damaged_list_is_read_again(contained: Settings, fake: FakeEngine, parent: EngineImage) -> None:
    """The error says so; the next time it is asked for anew."""
    sboms = Sboms(contained, fake)
    sboms.of_image(parent)
    (path,) = Path(contained.cache / "sbom").iterdir()
    path.write_text("{")

    with pytest.raises(DeliveryError, match="is damaged"):
        sboms.of_image(parent)
    assert sboms.of_image(parent) == BELOW
