"""The code location: every product below the defs folder, the three sensors, and the resources, bound once."""

import sys
import warnings
from importlib import import_module
from pathlib import Path
from types import ModuleType

import dagster as dg
from dagster._utils.warnings import BetaWarning, PreviewWarning

from mlauto.errors import ProductError
from mlauto.orchestration.graph import products_in
from mlauto.orchestration.platform import Platform, PlatformResource
from mlauto.orchestration.sensors.commits import commits_sensor
from mlauto.orchestration.sensors.data import data_sensor
from mlauto.orchestration.sensors.live import live_sensor
from mlauto.settings import PACKAGE, Settings
from mlauto.store import digest_of

__all__ = ["defs", "load"]


def load(settings: Settings) -> dg.Definitions:
    """All definitions of the products in `settings.defs`. Raises `ProductError` when there is no such folder.

    An error in a product's YAML is Dagster's own; it, or its cause, names file and line.
    """
    components = _components(settings.defs)
    products = products_in(components)
    platform = Platform.from_settings(settings)
    sensors = [make(products, platform) for make in (commits_sensor, data_sensor, live_sensor)]
    return dg.Definitions.merge(
        components,
        dg.Definitions(sensors=sensors, resources={"platform": PlatformResource()}, executor=dg.in_process_executor),
    )


def _components(folder: Path) -> dg.Definitions:
    """The graphs of all products below a folder."""
    if not folder.is_dir():
        raise ProductError(f"there is no folder {folder} with products: make it, or correct MLAUTO_DEFS")
    if not any(folder.iterdir()):
        return dg.Definitions()
    with warnings.catch_warnings():
        # Dagster warns of its own way to load components, several times for each asset
        warnings.simplefilter("ignore", PreviewWarning)
        warnings.simplefilter("ignore", BetaWarning)
        return dg.ComponentTree.from_module(_package(folder), folder.parent).build_defs()


def _package(folder: Path) -> ModuleType:
    """The folder as a Python package, which Dagster wants; its own name may be taken, or be no name of a module."""
    if folder == PACKAGE / "defs":
        return import_module(f"{PACKAGE.name}.defs")
    package = ModuleType(f"mlauto_defs_{digest_of(str(folder))[:12]}")
    package.__file__ = None
    package.__path__ = [str(folder)]
    sys.modules[package.__name__] = package
    return package


@dg.definitions
def defs() -> dg.Definitions:
    """What `dagster ... -m mlauto.definitions` loads."""
    return load(Settings.from_environment())
