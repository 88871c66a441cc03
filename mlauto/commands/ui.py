"""The Dagster UI that `mlauto dev` runs: where it is, and having it read the products again."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlauto.settings import Settings

__all__ = ["Reload", "next_step", "note_address", "reload_products"]

RELOAD = """
mutation {
  reloadRepositoryLocation(repositoryLocationName: "mlauto") {
    __typename
    ... on WorkspaceLocationEntry { locationOrLoadError { __typename ... on PythonError { message } } }
  }
}
"""
SECONDS = 60.0  # Dagster answers when the code is loaded


@dataclass(frozen=True, kw_only=True)
class Reload:
    """A running UI was asked to read the products again; `problem` is what kept it from that."""

    url: str
    problem: str | None = None


def note_address(settings: Settings, url: str) -> None:
    """Let other commands know where the UI is going to be."""
    place = _place(settings)
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps({"url": url}))
    partial.replace(place)


def reload_products(settings: Settings) -> Reload | None:
    """Have the UI that was started last, and its daemon with it, read the products again; None when none runs."""
    import httpx

    try:
        url = str(json.loads(_place(settings).read_text())["url"])
    except (OSError, ValueError, KeyError, TypeError):  # never started here
        return None
    try:
        answer = httpx.post(f"{url}/graphql", json={"query": RELOAD}, timeout=SECONDS, trust_env=False).json()
        found = answer["data"]["reloadRepositoryLocation"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):  # it has ended, and something else may listen there
        return None
    return Reload(url=url, problem=_problem(found))


def next_step(settings: Settings, name: str) -> str:
    """What to do after a product was made: a running Dagster is told of it."""
    reloaded = reload_products(settings)
    if reloaded is None:
        return (
            f"Next: `mlauto dev` runs the loop (where Dagster runs already, press Reload definitions);"
            f" `mlauto status {name}` shows what it did."
        )
    if reloaded.problem is not None:
        return f"Next: Dagster at {reloaded.url} cannot load its products: {reloaded.problem}"
    return f"Next: Dagster at {reloaded.url} has it already; `mlauto status {name}` shows what it does."


def _place(settings: Settings) -> Path:
    return settings.home / "dagster" / "ui.json"


def _problem(found: dict[str, Any]) -> str | None:
    if found["__typename"] != "WorkspaceLocationEntry":
        return f"it answers {found['__typename']}"
    loaded = found["locationOrLoadError"]
    return None if "message" not in loaded else " ".join(str(loaded["message"]).split())[:600]
