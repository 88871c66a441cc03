"""Where things are on this machine: addresses and directories, read from the environment once, at the edge.

| variable                 | default                  | what it is                                                    |
|--------------------------|--------------------------|---------------------------------------------------------------|
| `MLAUTO_ROOT`            | the checkout             | what relative paths in a product's YAML are relative to       |
| `MLAUTO_HOME`            | `$MLAUTO_ROOT/.mlauto`   | the one state directory                                       |
| `MLAUTO_DEFS`            | `mlauto/defs` (package)  | folder with one sub-folder per product, each with `defs.yaml` |
| `MLAUTO_GATEWAY_HOST`    | `127.0.0.1`              | interface that the gateway binds                              |
| `MLAUTO_GATEWAY_PORT`    | `8900`                   | port that the gateway owns                                    |
| `MLAUTO_GATEWAY_WORKERS` | by cores                 | processes that answer users; a quarter of the cores, 1 to 4   |
| `MLAUTO_API_KEY`         | none                     | the gateway's clients must show it; several with commas: any  |
| `MLAUTO_TICK_SECONDS`    | `5`                      | least seconds between two ticks of a sensor                   |
| `MLAUTO_LOG_SYNC`        | `background`             | `shared`: replies wait until the prediction log is on disk    |
| `MLAUTO_RUNTIME`         | `local`                  | `docker`: commits, trainings and models run in containers     |
| `MLAUTO_BASE_IMAGE`      | `python:3.11-slim`       | what their images start from; see `ops/base_image.sh`         |
| `MLAUTO_JOB_MEMORY_MB`   | `4096`                   | for one container in which a commit is tested or a model fit  |
| `MLAUTO_CACHE`           | `~/.cache/mlauto`        | wheels for those images, for every state directory            |
| `MLAUTO_REGISTRY`        | none                     | `host:port[/path]`: where models' images are pushed to        |
| `MLAUTO_NOTIFY_WEBHOOK`  | none                     | URL to which notices are posted as JSON                       |
| `MLAUTO_NOTIFY_SLACK`    | none                     | URL of a Slack incoming webhook                               |
| `MLAUTO_NOTIFY_MAIL`     | none                     | addresses that get notices by mail, with commas between       |
| `MLAUTO_NOTIFY_FROM`     | `mlauto@localhost`       | the sender of that mail                                       |
| `MLAUTO_SMTP`            | none                     | its server: `smtp[s]://[user:password@]host[:port]`           |
| `MLFLOW_TRACKING_URI`    | SQLite in `MLAUTO_HOME`  | any MLflow tracking server                                    |
| `PROMETHEUS_URL`         | none                     | where service levels come from; else the gateway's counters   |
| `MLAUTO_PROMETHEUS_MATCH`| none                     | which gateway of several it scrapes is ours: `instance="..."` |
| `MLAUTO_PROMETHEUS_TOKEN_FILE` | none               | file with the bearer token that it asks for                   |
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from mlauto.errors import MlautoError

__all__ = ["PACKAGE", "Settings"]

PACKAGE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Settings:
    """Addresses and directories; every path is absolute. Making one creates nothing on disk."""

    root: Path
    home: Path
    defs: Path
    gateway_host: str = "127.0.0.1"
    gateway_port: int = 8900
    gateway_workers: int = 0  # by cores
    tick_seconds: int = 5
    log_sync: str = "background"
    mlflow_uri: str = ""
    api_keys: str = field(default="", repr=False)
    runtime: str = "local"
    base_image: str = "python:3.11-slim"
    job_memory_mb: int = 4096
    cache: Path = Path("/var/cache/mlauto")
    registry: str = ""
    dask_address: str = ""
    ray_address: str = ""
    prometheus_url: str = field(default="", repr=False)
    prometheus_match: str = ""
    prometheus_token_file: Path | None = None
    notify_webhook: str = field(default="", repr=False)
    notify_slack: str = field(default="", repr=False)
    notify_mail: str = ""
    notify_from: str = "mlauto@localhost"
    smtp: str = field(default="", repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Settings of this process. Raises `MlautoError` naming the variable that is not usable."""
        env = os.environ if environment is None else environment
        root = Path(env.get("MLAUTO_ROOT") or PACKAGE.parent).expanduser().resolve()
        home = Path(env.get("MLAUTO_HOME") or root / ".mlauto").expanduser().resolve()
        return cls(
            root=root,
            home=home,
            defs=Path(env.get("MLAUTO_DEFS") or PACKAGE / "defs").expanduser().resolve(),
            gateway_host=env.get("MLAUTO_GATEWAY_HOST") or "127.0.0.1",
            gateway_port=_whole_number(env, "MLAUTO_GATEWAY_PORT", 8900),
            gateway_workers=_whole_number(env, "MLAUTO_GATEWAY_WORKERS", 0),
            tick_seconds=_whole_number(env, "MLAUTO_TICK_SECONDS", 5),
            log_sync=_one_of(env, "MLAUTO_LOG_SYNC", "background", "shared"),
            mlflow_uri=env.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow' / 'mlflow.db'}",
            api_keys=env.get("MLAUTO_API_KEY") or "",
            runtime=_one_of(env, "MLAUTO_RUNTIME", "local", "docker"),
            base_image=env.get("MLAUTO_BASE_IMAGE") or "python:3.11-slim",
            job_memory_mb=_whole_number(env, "MLAUTO_JOB_MEMORY_MB", 4096),
            cache=Path(env.get("MLAUTO_CACHE") or _user_cache(env) / "mlauto").expanduser().resolve(),
            registry=(env.get("MLAUTO_REGISTRY") or "").rstrip("/"),
            dask_address=env.get("MLAUTO_DASK_ADDRESS") or "",
            ray_address=env.get("RAY_ADDRESS") or "",
            prometheus_url=_http_address(env, "PROMETHEUS_URL"),
            prometheus_match=env.get("MLAUTO_PROMETHEUS_MATCH") or "",
            prometheus_token_file=_file(env, "MLAUTO_PROMETHEUS_TOKEN_FILE"),
            notify_webhook=_address(env, "MLAUTO_NOTIFY_WEBHOOK", "https://", "http://"),
            notify_slack=_address(env, "MLAUTO_NOTIFY_SLACK", "https://", "http://"),
            notify_mail=_mailboxes(env),
            notify_from=env.get("MLAUTO_NOTIFY_FROM") or "mlauto@localhost",
            smtp=_address(env, "MLAUTO_SMTP", "smtps://", "smtp://"),
        )

    def environment(self) -> dict[str, str]:
        """The variables that make another process of ours see the same settings, but for where notices go."""
        return {
            "MLAUTO_ROOT": str(self.root),
            "MLAUTO_HOME": str(self.home),
            "MLAUTO_DEFS": str(self.defs),
            "MLAUTO_GATEWAY_HOST": self.gateway_host,
            "MLAUTO_GATEWAY_PORT": str(self.gateway_port),
            "MLAUTO_GATEWAY_WORKERS": str(self.gateway_workers or ""),
            "MLAUTO_TICK_SECONDS": str(self.tick_seconds),
            "MLAUTO_LOG_SYNC": self.log_sync,
            "MLFLOW_TRACKING_URI": self.mlflow_uri,
            "MLAUTO_API_KEY": self.api_keys,
            "MLAUTO_RUNTIME": self.runtime,
            "MLAUTO_BASE_IMAGE": self.base_image,
            "MLAUTO_JOB_MEMORY_MB": str(self.job_memory_mb),
            "MLAUTO_CACHE": str(self.cache),
            "MLAUTO_REGISTRY": self.registry,
            "MLAUTO_DASK_ADDRESS": self.dask_address,
            "RAY_ADDRESS": self.ray_address,
            "PROMETHEUS_URL": self.prometheus_url,
            "MLAUTO_PROMETHEUS_MATCH": self.prometheus_match,
            "MLAUTO_PROMETHEUS_TOKEN_FILE": str(self.prometheus_token_file or ""),
        }

    def engine_address(self, backend: str) -> str:
        """Where the engine of that `training.backend` is, "" where nothing says."""
        return {"joblib-dask": self.dask_address, "joblib-ray": self.ray_address}.get(backend, "")

    @property
    def credentials(self) -> dict[str, str]:
        """The headers that our own clients of the gateway send: the first key, where there are any."""
        key = self.api_keys.partition(",")[0].strip()
        return {"x-api-key": key} if key else {}

    @property
    def gateway_url(self) -> str:
        """Base address that clients use."""
        return f"http://{self.gateway_host}:{self.gateway_port}"

    @property
    def gateway_home(self) -> Path:
        """The gateway's state file, control socket and log."""
        return self.home / "gateway"

    def product_home(self, product: str) -> Path:
        """Records, mirror, quarantine and prediction log of one product."""
        return self.home / "products" / product

    def resolve(self, path: str) -> Path:
        """A path from a product's YAML, made absolute against `root`."""
        return (self.root / Path(path).expanduser()).resolve()


def _user_cache(env: Mapping[str, str]) -> Path:
    return Path(env.get("XDG_CACHE_HOME") or "~/.cache")


def _address(env: Mapping[str, str], name: str, *schemes: str) -> str:
    """An address, which may be a secret and is never repeated in an error."""
    found = (env.get(name) or "").strip()
    if found and not found.startswith(schemes):
        raise MlautoError(f"{name} begins with none of {', '.join(schemes)}: correct or unset it")
    return found


def _mailboxes(env: Mapping[str, str]) -> str:
    found = (env.get("MLAUTO_NOTIFY_MAIL") or "").strip()
    if found and not env.get("MLAUTO_SMTP"):
        raise MlautoError("MLAUTO_NOTIFY_MAIL is set without MLAUTO_SMTP: name the mail server too, or unset it")
    return found


def _whole_number(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name)
    if not text:
        return default
    if not text.isdecimal() or int(text) < 1:
        raise MlautoError(f"{name}={text!r} is not a whole number above 0: set or unset it")
    return int(text)


def _one_of(env: Mapping[str, str], name: str, default: str, other: str) -> str:
    found = env.get(name) or default
    if found not in (default, other):
        raise MlautoError(f"{name}={found[:40]!r} is neither {default} nor {other}: correct or unset it")
    return found


def _http_address(env: Mapping[str, str], name: str) -> str:
    """An address that may hold a password, so that no message repeats it."""
    found = (env.get(name) or "").rstrip("/")
    try:
        parts = urlsplit(found)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if found and not (usable and not parts.query and not parts.fragment and found.isprintable()):
        raise MlautoError(f"{name} is no address of the form http://host:port: correct or unset it")
    return found


def _file(env: Mapping[str, str], name: str) -> Path | None:
    text = env.get(name)
    return Path(text).expanduser().resolve() if text else None
