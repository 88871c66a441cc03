"""`mlauto approve PRODUCT [VERSION]`: a person lets a verified version into production."""

import getpass
import os
import time

from mlauto.commands.products import find_product
from mlauto.delivery.decisions import approve
from mlauto.errors import DeliveryError
from mlauto.records import Deployment
from mlauto.settings import Settings
from mlauto.store import Store

__all__ = ["approve_version"]


def approve_version(settings: Settings, product: str, version: str | None = None) -> str:
    """Record the approval of `version` (default: the newest that the test deployment verified) and say what follows.

    Raises `DeliveryError` when there is no such version, or when it did not pass its checks or was rolled back.
    """
    found = find_product(settings, product)
    store = Store(settings.home)
    if found.delivery.mode == "auto":
        raise DeliveryError(f"{product}: delivery mode is auto, so verified versions need no approval")
    if found.delivery.mode == "suggest":
        raise DeliveryError(f"{product}: delivery mode is suggest, which rolls nothing out: set it to approve or auto")
    if version is None:
        version = _verified(store, product)
    approve(product, version, store, by=_person(), now=time.time())
    return f"{product}: version {version} is approved; the sensors roll it out at their next tick"


def _verified(store: Store, product: str) -> str:
    test = store.read_record(product, "test_deployment", Deployment)
    if test is None or not all(check.passed for check in test.checks):
        raise DeliveryError(f"{product}: no version has passed its test deployment: nothing to approve yet")
    return test.version


def _person() -> str:
    """Who asks; a container's user may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
