"""`mlauto env`: the variables under which `dagster`, `dg` and mlauto see the same installation, as shell commands."""

import shlex
import sys
from pathlib import Path

from mlauto.commands.loop import dagster_environment
from mlauto.settings import Settings

__all__ = ["exports"]

OURS = ("DAGSTER_", "MLAUTO_", "MLFLOW_")
UNSAID = "MLAUTO_API_KEY"  # the shell has it already, and a terminal need not show it


def exports(settings: Settings, *, path: str, threads: str | None) -> str:
    """Lines for `eval "$(mlauto env)"`: settings, this environment's programs first on `path`, bytecode, threads.

    `threads` is OMP_NUM_THREADS as it is now; it is set to 1 only where it is not set.
    """
    known = dagster_environment(settings).items()
    variables = {name: value for name, value in known if name.startswith(OURS) and name != UNSAID}
    if not settings.mlflow_uri.startswith("http"):
        variables["MLFLOW_BACKEND_STORE_URI"] = settings.mlflow_uri  # `mlflow ui` takes nothing else for it
    variables["VIRTUAL_ENV"] = sys.prefix  # dg asks for it
    programs = str(Path(sys.prefix) / "bin")
    if programs not in path.split(":"):
        variables["PATH"] = f"{programs}:{path}"
    if not threads:
        variables["OMP_NUM_THREADS"] = "1"
    lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted(variables.items())]
    return "\n".join([*lines, "unset PYTHONDONTWRITEBYTECODE"])
