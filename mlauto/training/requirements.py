"""Which installed distributions a model needs, pinned: read from the imports of the team's own modules."""

import ast
import importlib.metadata
import sys
from pathlib import Path

__all__ = ["pinned"]

BASE = ("numpy", "pandas", "scikit-learn", "scipy", "skops")
KNOWN = {"numpy", "pandas", "scipy", "skops", "sklearn"}


def pinned(root: Path) -> tuple[str, ...]:
    """`name==version` for the base libraries and for whatever the loaded modules below `root` import directly."""
    names = set(BASE)
    foreign = _imported(root) - KNOWN - sys.stdlib_module_names
    if foreign:
        # the map of all installed packages costs 0.2 s: only asked when a team uses more than the base
        owners = importlib.metadata.packages_distributions()
        names.update(owner for name in foreign for owner in owners.get(name, ())[:1])
    return tuple(f"{name}=={importlib.metadata.version(name)}" for name in sorted(names))


def _imported(root: Path) -> set[str]:
    """Top-level names that loaded modules below `root` import from elsewhere."""
    root = root.resolve()
    found: set[str] = set()
    own: set[str] = set()
    for name, module in list(sys.modules.items()):
        origin = getattr(module, "__file__", None)
        if origin is None or not origin.endswith(".py") or not Path(origin).resolve().is_relative_to(root):
            continue
        own.add(name.partition(".")[0])
        for node in ast.walk(ast.parse(Path(origin).read_bytes())):
            if isinstance(node, ast.Import):
                found.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.partition(".")[0])
    return found - own
