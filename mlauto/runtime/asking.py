"""A question to an image: a program in it is run for a moment, in a closed container, and its words are read."""

import os

from mlauto.errors import DeliveryError
from mlauto.runtime.engine import HOME_LABEL, ContainerSpec, Engine, EngineImage
from mlauto.settings import Settings

__all__ = ["answer", "told"]

MOST = 2000  # characters of it in an error


def answer(engine: Engine, settings: Settings, image: EngineImage, program: str, *arguments: str) -> str:
    """What the program writes. Raises `DeliveryError` with it when the program is not there or fails."""
    spec = ContainerSpec(
        name=f"mlauto-ask-{os.getpid()}-{image.id[7:19]}",
        image=image.id,
        entrypoint=(program,),
        command=arguments,
        user="10001:10001",
        labels={HOME_LABEL: str(settings.home)},
    )
    return told(engine, spec)


def told(engine: Engine, spec: ContainerSpec) -> str:
    """What a container writes until its end; it is removed. Raises `DeliveryError` with it when it fails."""
    said: list[bytes] = []
    engine.remove(spec.name)
    container = engine.create(spec)
    try:
        engine.run(container, said.append)
        state = engine.container(container)
    finally:
        engine.remove(container)
    text = b"".join(said).decode(errors="replace")
    if state is None or state.exit_code != 0:
        raise DeliveryError(f"{' '.join(spec.entrypoint)} fails in image {spec.image}: {text.strip()[-MOST:]}")
    return text
