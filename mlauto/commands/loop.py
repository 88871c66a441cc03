"""A loop of one's own: a scratch directory, a real Dagster daemon and a gateway, started and ended together.

The demo, the replay, the benchmark and the tests drive the loop through this and look at it from outside: they ask
Dagster's event log, MLflow and the live server, never the processes' memory.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mlauto.errors import MlautoError
from mlauto.settings import PACKAGE, Settings

if TYPE_CHECKING:
    import dagster as dg

__all__ = ["Loop", "dagster_environment", "free_port"]

Found = TypeVar("Found")
MARK = "mlauto-scratch"


def free_port() -> int:
    """A port of the loopback interface that nothing listens on now."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def dagster_environment(settings: Settings) -> dict[str, str]:
    """The environment of this process with the variables that Dagster's processes need."""
    quiet = {"DAGSTER_DISABLE_TELEMETRY": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONUNBUFFERED": "1"}
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "MLFLOW_TRACKING_URI")}
    return {**kept, **quiet, **settings.environment(), "DAGSTER_HOME": str(PACKAGE.parent)}


class Loop:
    """One scratch installation: everything below `settings.root`, daemon and gateway included."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.daemon: subprocess.Popen[bytes] | None = None
        self._instance: dg.DagsterInstance | None = None

    @classmethod
    def scratch(cls, root: Path, *, tick_seconds: int = 1) -> "Loop":
        """A fresh loop below `root`, which is emptied first if an earlier scratch loop made it.

        Raises `MlautoError` when the directory holds anything else.
        """
        if root.exists() and any(root.iterdir()):
            if not (root / MARK).exists():
                raise MlautoError(f"{root} is not empty and no scratch directory of ours: name another one")
            cls(_settings(root, tick_seconds)).stop()
            shutil.rmtree(root)
        root.mkdir(parents=True, exist_ok=True)
        (root / MARK).touch()
        (root / "defs").mkdir()
        return cls(_settings(root, tick_seconds))

    @property
    def log(self) -> Path:
        """What the daemon and its code server print."""
        return self.settings.home / "logs" / "daemon.log"

    @property
    def instance(self) -> "dg.DagsterInstance":
        """Dagster's instance, to read its event log."""
        if self._instance is None:
            import dagster as dg

            os.environ.update(dagster_environment(self.settings))
            self._instance = dg.DagsterInstance.from_config(str(PACKAGE.parent))
        return self._instance

    def start(self, *, dev: bool = False) -> None:
        """Start the daemon with its sensors (with `dev`, the UI too); the first deployment starts the gateway."""
        # Two processes that create Dagster's databases at once trip over each other: this one goes first.
        self.instance.get_runs(limit=1)
        self.instance.all_asset_keys()
        self.instance.all_instigator_state()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        program = ["dagster", "dev", "-p", str(free_port())] if dev else ["dagster-daemon", "run"]
        command = [str(Path(sys.executable).with_name(program[0])), *program[1:]]
        command += ["-w", str(PACKAGE.parent / "workspace.yaml")]
        with self.log.open("ab") as log:
            self.daemon = subprocess.Popen(
                command,
                cwd=PACKAGE.parent,
                env=dagster_environment(self.settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self) -> None:
        """End the daemon, its code server, and the gateway with its model servers."""
        from mlauto.runtime.chosen import runtime_of

        self.stop_daemon()
        runtime_of(self.settings).shut_down()
        if self._instance is not None:
            self._instance.dispose()
            self._instance = None

    def stop_daemon(self, how: signal.Signals = signal.SIGINT) -> None:
        """Signal the daemon's whole process group and wait until it is gone."""
        if self.daemon is None:
            return
        if self.daemon.poll() is None:
            os.killpg(self.daemon.pid, how)
            try:
                self.daemon.wait(timeout=15)
            except subprocess.TimeoutExpired:
                os.killpg(self.daemon.pid, signal.SIGKILL)
                self.daemon.wait(timeout=15)
        self.daemon = None

    def wait_for(self, what: str, condition: Callable[[], Found | None], *, timeout: float = 60.0) -> Found:
        """The condition's value as soon as it is neither None nor False.

        Raises `MlautoError` that says what was waited for, with the daemon's last words, when time is up or it died.
        """
        deadline = time.monotonic() + timeout
        while True:
            found = condition()
            if found is not None and found is not False:
                return found
            if self.daemon is not None and self.daemon.poll() is not None:
                raise MlautoError(
                    f"the daemon ended (exit {self.daemon.returncode}) before {what}\n{self._last_words()}"
                )
            if time.monotonic() > deadline:
                raise MlautoError(f"not seen within {timeout:.0f} s: {what}\n{self._last_words()}")
            time.sleep(0.05)

    def processes(self) -> dict[int, str]:
        """Every process of this loop that runs now, daemon, workers, gateway and model servers: pid -> command line."""
        found = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdecimal():
                continue
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                environment = (folder / "environ").read_bytes()
            except OSError:  # it ended, or it is somebody else's
                continue
            ours = f"MLAUTO_HOME={self.settings.home}".encode() in environment or str(self.settings.home) in command
            if ours and command and int(folder.name) != os.getpid():
                found[int(folder.name)] = command.strip()
        return found

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        telling = [line for line in lines if "ERROR" in line or "Error" in line] or lines
        return "\n".join(telling[-12:])


def _settings(root: Path, tick_seconds: int) -> Settings:
    home = root / ".mlauto"
    given = Settings.from_environment()
    return Settings(
        root=root,
        home=home,
        defs=root / "defs",
        gateway_port=free_port(),
        tick_seconds=tick_seconds,
        mlflow_uri=f"sqlite:///{home / 'mlflow' / 'mlflow.db'}",
        runtime=given.runtime,
        base_image=given.base_image,
        cache=given.cache,
        registry=given.registry,
    )
