"""Which runtime this installation is on: asked here, and nowhere else."""

from mlauto.runtime.docker import DockerRuntime
from mlauto.runtime.docker_engine import DockerEngine
from mlauto.runtime.docker_workshop import DockerWorkshop, Limits
from mlauto.runtime.flavours import Flavours
from mlauto.runtime.local import LocalRuntime
from mlauto.runtime.warm import WarmProcess
from mlauto.runtime.workshop import LocalWorkshop, Workshop
from mlauto.settings import Settings

__all__ = ["runtime_of", "workshop_of"]


def runtime_of(settings: Settings) -> LocalRuntime | DockerRuntime:
    """Where models are served, as `MLAUTO_RUNTIME` says; it connects to nothing yet."""
    return DockerRuntime(settings) if settings.runtime == "docker" else LocalRuntime(settings)


def workshop_of(settings: Settings, warm: WarmProcess) -> Workshop:
    """Where commits are tested and models trained, likewise."""
    if settings.runtime == "local":
        return LocalWorkshop(warm)
    engine = DockerEngine()
    limits = Limits(memory_mb=settings.job_memory_mb)
    return DockerWorkshop(engine, Flavours(settings, engine), settings.home, limits)
