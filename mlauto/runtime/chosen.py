"""Which runtime this installation is on: asked here, and nowhere else."""

from mlauto.runtime.docker import DockerRuntime
from mlauto.runtime.local import LocalRuntime
from mlauto.settings import Settings

__all__ = ["runtime_of"]


def runtime_of(settings: Settings) -> LocalRuntime | DockerRuntime:
    """The runtime that `MLAUTO_RUNTIME` names; it connects to nothing yet."""
    return DockerRuntime(settings) if settings.runtime == "docker" else LocalRuntime(settings)
