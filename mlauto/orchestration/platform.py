"""The clients that steps use, bound once for a code location."""

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from mlauto.integration.git import Mirror, mirror_of
from mlauto.monitoring.prometheus import Prometheus
from mlauto.product import ModelProduct
from mlauto.records import Commit
from mlauto.runtime.base import Runtime
from mlauto.runtime.chosen import runtime_of, workshop_of
from mlauto.runtime.warm import WarmProcess
from mlauto.runtime.workshop import Workshop
from mlauto.settings import Settings
from mlauto.store import Store
from mlauto.training.registry import MlflowRegistry, Registry

__all__ = ["Platform", "PlatformResource"]

TREES_KEPT = 20


@dataclass(frozen=True)
class Platform:
    """Settings and the clients made from them; making one connects to nothing."""

    settings: Settings
    store: Store
    runtime: Runtime
    registry: Registry
    warm: WarmProcess
    workshop: Workshop
    prometheus: Prometheus | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> "Platform":
        """The clients that the settings ask for, MLflow as the environment says, a warm process where one runs."""
        warm = WarmProcess(settings.home / "warm.sock")
        return cls(
            settings=settings,
            store=Store(settings.home),
            runtime=runtime_of(settings),
            registry=MlflowRegistry(settings),
            warm=warm,
            workshop=workshop_of(settings, warm),
            prometheus=Prometheus.of(settings),
        )

    def mirror(self, product: ModelProduct) -> Mirror:
        """The local clone of the product's model repository."""
        return mirror_of(product, self.settings)

    def tree(self, product: ModelProduct, commit: Commit) -> Path:
        """A clean export of that commit; the newest exports are kept, older ones are made again when asked for."""
        folder = self.settings.product_home(product.name) / "trees"
        target = folder / commit.sha
        try:
            os.utime(target)  # in use: not among the oldest
        except FileNotFoundError:
            folder.mkdir(parents=True, exist_ok=True)
            self.mirror(product).export(commit.sha, target)
            _prune(folder, TREES_KEPT)
        return target


def _prune(folder: Path, keep: int) -> None:
    with os.scandir(folder) as entries:
        newest_first = sorted(entries, key=_last_used, reverse=True)
    for old in newest_first[keep:]:
        gone = folder / f".gone-{old.name}"
        with contextlib.suppress(OSError):  # another process prunes too
            os.rename(old, gone)  # at once: nobody takes half a tree for a whole one
        shutil.rmtree(gone, ignore_errors=True)


def _last_used(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:  # pruned meanwhile
        return 0.0


class PlatformResource(dg.ConfigurableResource[Platform]):
    """The platform as a Dagster resource, made from this process's environment."""

    def create_resource(self, context: dg.InitResourceContext) -> Platform:
        """One platform for a run."""
        del context
        return Platform.from_settings(Settings.from_environment())
