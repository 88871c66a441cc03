"""`mlauto export ops`: write what people watch with, or say which committed files are not what would be written."""

from pathlib import Path

from mlauto.commands.products import load_products
from mlauto.errors import MlautoError
from mlauto.export.files import DASHBOARDS, differing, exported
from mlauto.export.targets import Targets
from mlauto.settings import Settings
from mlauto.store import atomic_write

__all__ = ["check_ops", "export_ops"]


def export_ops(settings: Settings, folder: Path, targets: Targets) -> list[Path]:
    """Write every file below `folder`, each as a whole; dashboards that are not ours any more are removed.

    Raises `MlautoError` for targets or products that are wrong: nothing is written then.
    """
    files = exported(load_products(settings).values(), targets)
    paths = []
    for name, text in files.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != text.encode():
            atomic_write(path, text.encode())
        path.chmod(0o644)  # read by other users: those that the containers run as
        paths.append(path)
    for left in set((folder / DASHBOARDS).glob("*.json")) - set(paths):
        left.unlink()
    return paths


def check_ops(settings: Settings, folder: Path, targets: Targets) -> None:
    """Raises `MlautoError` naming each file below `folder` that is not what `export_ops` would write."""
    found = differing(folder, exported(load_products(settings).values(), targets))
    if found:
        raise MlautoError(
            f"{'; '.join(found)}: run `mlauto export ops` with the same options, and commit what it writes"
        )
