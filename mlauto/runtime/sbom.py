"""Bills of materials (CycloneDX 1.6): what is installed below a model, as its image says itself, and the model."""

import json
import uuid
from typing import Any

from mlauto.errors import DeliveryError
from mlauto.runtime.asking import answer
from mlauto.runtime.engine import Engine, EngineImage
from mlauto.runtime.flavours import DEPENDENCIES_LABEL
from mlauto.serving.bundle import Manifest
from mlauto.settings import Settings
from mlauto.store import atomic_write

__all__ = ["SBOM", "Sboms"]

SBOM = "/usr/share/mlauto/sbom.json"


class Sboms:
    """Reads the list of each image of dependencies once, and keeps it."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine

    def of_model(self, parent: EngineImage, manifest: Manifest) -> bytes:
        """The list of a model's image: what `parent` holds, and which model it is about. Raises `DeliveryError`."""
        known = self.of_image(parent)
        name, version = manifest.name, manifest.version
        properties = {"commit": manifest.commit, "key": manifest.key, "flavour": manifest.flavour, **manifest.facts}
        model: dict[str, Any] = {
            "type": "machine-learning-model",
            "bom-ref": f"model:{name}@{version}",
            "name": name,
            "version": version,
            "properties": [{"name": f"mlauto:{key}", "value": text} for key, text in sorted(properties.items())],
            "components": [
                {
                    "type": "file",
                    "bom-ref": f"file:{path}",
                    "name": path,
                    "hashes": [{"alg": "SHA-256", "content": digest}],
                }
                for path, digest in sorted(manifest.files.items())
            ],
        }
        whole = {**known, "metadata": {"component": model}}
        del whole["serialNumber"]
        identity = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(whole, sort_keys=True))
        return json.dumps({**whole, "serialNumber": f"urn:uuid:{identity}"}, indent=1, sort_keys=True).encode()

    def of_image(self, image: EngineImage) -> dict[str, Any]:
        """What is installed in an image of ours. Raises `DeliveryError` when it does not say."""
        path = self._settings.cache / "sbom" / f"{image.labels[DEPENDENCIES_LABEL]}.json"
        if not path.is_file():
            atomic_write(path, answer(self._engine, self._settings, image, "cat", SBOM).encode())
        try:
            found: dict[str, Any] = json.loads(path.read_bytes())
        except ValueError as error:
            path.unlink(missing_ok=True)
            raise DeliveryError(f"the list of what is in image {image.id} is damaged ({error}): build again") from error
        return found
