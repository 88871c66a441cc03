"""Images of commits and of models: one layer each on top of a flavour, so that a new one costs no build.

The layer is loaded into the engine as it is. An engine that refuses that gets it through its builder; what comes out
then has another id and the same content. Everything is found by id or by labels, never by a tag, which can move.
"""

import hashlib
import shutil
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from mlauto.errors import DeliveryError
from mlauto.records import Image
from mlauto.runtime.engine import HOME_LABEL, OWNER, OWNER_LABEL, Build, Engine, EngineError, EngineImage
from mlauto.runtime.flavours import INHERITED, KIND_LABEL, Flavours
from mlauto.runtime.layers import NO_TIME, Layer, archive, configuration
from mlauto.runtime.leftovers import clear, is_old
from mlauto.runtime.maker import KEY_LABEL
from mlauto.runtime.names import repository, slug
from mlauto.runtime.sbom import Sboms
from mlauto.serving.bundle import Manifest
from mlauto.settings import Settings
from mlauto.store import Store, digest_of

__all__ = ["COMMIT_LABEL", "CONTENT_LABEL", "PARENT_LABEL", "PRODUCT_LABEL", "VERSION_LABEL", "Images"]

CONTENT_LABEL = "mlauto.content"  # digest of parent, layer and labels: equal for equal images, however they were made
PARENT_LABEL = "mlauto.parent"
PRODUCT_LABEL = "mlauto.product"
VERSION_LABEL = "mlauto.version"
COMMIT_LABEL = "mlauto.commit"
OCI = "org.opencontainers.image."
COMMAND = ("--bundle", "/model", "--host", "0.0.0.0", "--port", "8080")  # noqa: S104 -- within a container


class Images:
    """Get or create. Making one connects to nothing."""

    def __init__(self, settings: Settings, engine: Engine, flavours: Flavours | None = None) -> None:
        self._settings = settings
        self._store = Store(settings.home)
        self._engine = engine
        self._flavours = flavours or Flavours(settings, engine)
        self._sboms = Sboms(settings, engine)

    def workshop(self, product: str, commit: str, tree: Path) -> EngineImage:
        """Where a commit is tested and its model trained: the team's `tree` lies at `/code`. Raises `DeliveryError`."""
        return self._code(self._flavours.get("workshop"), product, commit, tree, "code")

    def model(self, product: str, version: str, key: str, content: Path) -> Image:
        """The image of a bundle directory, which lies at `/model` and stays where it is. Raises `DeliveryError`."""
        manifest = _manifest(product, version, content)
        parent = self._flavours.get(manifest.flavour)
        if (content / "code").is_dir():
            parent = self._code(parent, product, manifest.commit, content / "code", "model/code")
        facts = manifest.facts
        labels = {
            KIND_LABEL: "model",
            KEY_LABEL: key,
            VERSION_LABEL: version,
            "mlauto.flavour": manifest.flavour,
            **{f"mlauto.{name}": text for name, text in facts.items() if text},
            f"{OCI}title": product,
            f"{OCI}version": version,
            f"{OCI}revision": manifest.commit,
            f"{OCI}created": facts.get("trained", NO_TIME),
            **_origin(product, manifest.commit, parent),
        }
        sbom = self._sboms.of_model(parent, manifest)
        layer = Layer({"model": content}, {"usr/share/mlauto/sbom.json": sbom}, frozenset({"code"}))
        made = self._layered(parent, layer, labels, f"{repository(self._settings, product)}:{version}", COMMAND)
        reference = self._pushed(made.id, product, version) if self._settings.registry else made.id
        kept = self._store.put_bytes(sbom)
        return Image(kind="container", digest=made.id, reference=reference, version=version, key=key, sbom=kept)

    def found(self, product: str, image: Image) -> EngineImage:
        """The engine's image of that id, which must say that it is that product, version and key.

        An engine that lacks one that was pushed pulls it, by digest. Raises `DeliveryError` where it says otherwise, or
        is not there.
        """
        there = self._engine.image(image.digest) or self._pulled(image)
        if there is None:
            raise DeliveryError(
                f"{product} {image.version}: the engine has no image {image.digest}: materialize {product}/image"
            )
        expected = {OWNER_LABEL: OWNER, PRODUCT_LABEL: product, VERSION_LABEL: image.version, KEY_LABEL: image.key}
        for name, text in expected.items():
            if there.labels.get(name) != text:
                raise DeliveryError(
                    f"{product} {image.version}: image {image.digest} says {name}={there.labels.get(name)!r}, "
                    f"not {text!r}: it is not started; materialize {product}/image"
                )
        return there

    def _pushed(self, identity: str, product: str, version: str) -> str:
        """Push to the registry under a name that no other image gets; `repository@digest`."""
        place = f"{self._settings.registry}/{slug(product)}"
        tag = f"{place}:{version}-{identity[7:19]}"
        self._engine.tag(identity, tag)
        return f"{place}@{self._engine.push(tag)}"

    def _pulled(self, image: Image) -> EngineImage | None:
        place, _, digest = image.reference.partition("@")
        if not digest:
            return None
        pulled = self._engine.pull(place, digest)
        if pulled.id != image.digest:
            raise DeliveryError(f"{image.reference} is image {pulled.id}, not {image.digest}: it is not started")
        return pulled

    def tidy(self, product: str, kept: Collection[Image], now: float) -> tuple[str, ...]:
        """Remove what no image in `kept` needs, as `leftovers` says; what that was."""
        ids = {image.digest for image in kept}
        current = self._flavours.keys()
        return clear(self._engine, str(self._settings.home), product, kept=ids, current=current, now=now)

    def _code(self, parent: EngineImage, product: str, commit: str, tree: Path, place: str) -> EngineImage:
        labels = {KIND_LABEL: "code", **_origin(product, commit, parent)}
        tag = f"{repository(self._settings, product)}-code:{commit[:12]}-{parent.id[7:15]}"
        return self._layered(parent, Layer({place: tree}, {}, frozenset({".git"})), labels, tag, None)

    def _layered(
        self, parent: EngineImage, layer: Layer, labels: Mapping[str, str], tag: str, command: tuple[str, ...] | None
    ) -> EngineImage:
        digest, size = layer.digest()
        ours = {OWNER_LABEL: OWNER, HOME_LABEL: str(self._settings.home), **labels}
        ours[CONTENT_LABEL] = digest_of(parent.id, digest, ours)
        said = f"mlauto: {ours[KIND_LABEL]} of {ours[PRODUCT_LABEL]}"
        created = ours.get(f"{OCI}created", NO_TIME)
        config = configuration(parent, [digest], ours, command=command, created=created, said=said)
        identity = f"sha256:{hashlib.sha256(config).hexdigest()}"
        found = self._engine.image(identity)
        if found is None:
            try:
                self._engine.load(archive(config, len(parent.layers), [(layer, size)], tag))
                found = self._engine.image(identity)
            except EngineError:
                found = self._same(ours[CONTENT_LABEL])  # if none, the builder's error is the one that counts
        if found is None:
            return self._built(parent, layer, ours, tag, command)
        if is_old(found, time.time()):
            self._engine.tag(found.id, tag)  # made or in use now, so not to be removed; loading alone notes no time
        return found

    def _same(self, content: str) -> EngineImage | None:
        return next(iter(self._engine.images({OWNER_LABEL: OWNER, CONTENT_LABEL: content})), None)

    def _built(
        self, parent: EngineImage, layer: Layer, labels: Mapping[str, str], tag: str, command: tuple[str, ...] | None
    ) -> EngineImage:
        """By the engine's builder, which unpacks the archive of the layer."""
        context = self._store.scratch("context")
        try:
            with (context / "layer.tar").open("wb") as stream:
                stream.writelines(layer.blocks())
            words = ", ".join(f'"{word}"' for word in command or ())
            last = f"CMD [{words}]\n" if command else ""
            (context / "Dockerfile").write_text(f"FROM {parent.id} AS only\nADD layer.tar /\n{last}")
            return self._engine.build(
                Build(context=context, dockerfile="Dockerfile", target="only", tag=tag, labels=labels)
            )
        finally:
            shutil.rmtree(context, ignore_errors=True)


def _manifest(product: str, version: str, content: Path) -> Manifest:
    from mlauto.serving import bundle
    from mlauto.serving.errors import BundleError

    try:
        manifest = bundle.read(content).manifest
    except BundleError as error:
        raise DeliveryError(f"{product} {version} cannot be built: {error}") from error
    if (manifest.name, manifest.version) != (product, version):
        raise DeliveryError(f"the bundle is version {manifest.version} of {manifest.name}, not {version} of {product}")
    return manifest


def _origin(product: str, commit: str, parent: EngineImage) -> dict[str, str]:
    kept = {name: parent.labels[name] for name in INHERITED}
    return {PRODUCT_LABEL: product, COMMIT_LABEL: commit, PARENT_LABEL: parent.id, **kept}
