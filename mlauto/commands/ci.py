"""`mlauto ci report`: a team's own CI tells what it found of a commit. Needs neither daemon nor mirror."""

import getpass
import os
import time
from pathlib import Path
from urllib.parse import urlsplit

from mlauto.commands.products import find_product, load_products
from mlauto.errors import ProductError, SourceError
from mlauto.integration.junit import Junit, read_junit
from mlauto.integration.outside import OutsideVerdict, add_verdict, full_sha, web_address
from mlauto.settings import Settings
from mlauto.store import Store

__all__ = ["report_verdict"]

LONGEST_NAME = 200
LONGEST_DETAIL = 4000


def report_verdict(
    settings: Settings,
    commit: str,
    *,
    passed: bool,
    product: str | None = None,
    command: str | None = None,
    url: str | None = None,
    detail: str = "",
    junit: Path | None = None,
) -> str:
    """Record the verdict and say what follows.

    `product` may be left out where there is one only. `command` names the check: the newest verdict of a name replaces
    the one before; default is the host of `url`. Raises `ProductError` for an unknown product, `SourceError` for a
    short SHA, an address that is none, or `passed` with a JUnit report that is missing or names failures.
    """
    name = find_product(settings, product or _only_product(settings)).name
    sha = full_sha(commit)
    page = web_address(url) if url else None
    check = _name(command, page)
    found = read_junit(junit) if junit else None
    if passed and junit is not None:
        _require_green(junit, found)
    note = f"{junit} is no readable JUnit report" if junit is not None and found is None else ""
    verdict = OutsideVerdict(
        command=check,
        passed=passed,
        at=time.time(),
        by=_person(),
        url=page,
        detail="\n".join(part for part in (detail.strip()[:LONGEST_DETAIL], note) if part),
        tests=found.tests if found else None,
        failures=found.failures if found else (),
    )
    verdicts = add_verdict(Store(settings.home), name, sha, verdict)
    red = [one.command for one in verdicts.verdicts if not one.passed]
    said = f"red ({', '.join(red)})" if red else f"green ({', '.join(one.command for one in verdicts.verdicts)})"
    return f"{name}: commit {sha[:12]} is {said}; the sensors take that up as soon as it is on the branch"


def _only_product(settings: Settings) -> str:
    products = load_products(settings)
    if len(products) != 1:
        known = ", ".join(sorted(products)) or f"none yet in {settings.defs}"
        raise ProductError(f"--product is needed: which product's commit is it? (known: {known})")
    return next(iter(products))


def _name(command: str | None, url: str | None) -> str:
    """The check's name on one line."""
    given = command if command is not None else (urlsplit(url).hostname or "") if url else "outside"
    name = " ".join(given.split())
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise SourceError(f"--command must be a printable name of at most {LONGEST_NAME} characters: {given[:50]!r}")
    return name


def _require_green(path: Path, junit: Junit | None) -> None:
    if junit is None:
        raise SourceError(f"--passed, but {path} is no readable JUnit report: leave --junit out, or find out why")
    if junit.tests == 0:
        raise SourceError(f"--passed, but {path} holds no test: a commit without tests is not verified")
    if junit.failures:
        raise SourceError(f"--passed, but {path} names failures ({junit.failures[0]}): report --failed")


def _person() -> str:
    """Who reports; a container's user may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
