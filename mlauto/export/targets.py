"""Where things are that the exported files name, and who is told. Addresses only: a secret is a file's name here."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from mlauto.errors import MlautoError

__all__ = ["FROM_FILE", "Receivers", "Targets"]

FROM_FILE = "file"  # instead of an address: it is a secret, and lies in a file


@dataclass(frozen=True, kw_only=True)
class Receivers:
    """Who Alertmanager tells. `webhook` and `watchdog` are addresses, or `file`: then they lie in `secrets`.

    `secrets` is a folder as Alertmanager sees it, with the files webhook_url, watchdog_url, slack_url, mail_password,
    so far as they are needed. Mail goes from `mail_from` to `mail` by `smarthost` (host:port).
    """

    webhook: str = ""
    watchdog: str = ""
    slack: str = ""
    mail: str = ""
    mail_from: str = ""
    mail_user: str = ""
    smarthost: str = ""
    secrets: str = "/etc/alertmanager/secrets"

    def check(self) -> None:
        """Raises `MlautoError` naming what is missing, or what would put a secret into a file that is committed."""
        for option, address in (("--webhook", self.webhook), ("--watchdog", self.watchdog)):
            if address in ("", FROM_FILE):
                continue
            parts = urlsplit(address)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise MlautoError(f"{option} {address[:80]!r} is neither an http(s) address nor {FROM_FILE}")
            if parts.username or parts.password or parts.query:
                raise MlautoError(
                    f"{option}: an address with a password or a token does not belong into a committed file: use"
                    f" {option} {FROM_FILE}, and write it to {self.secrets}/{option.removeprefix('--')}_url"
                )
        if self.mail and not (self.mail_from and self.smarthost):
            raise MlautoError("--mail needs --mail-from and --smarthost too")


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Addresses (host:port) as the programs see each other, and the file with the key that Prometheus shows."""

    gateway: str = "gateway:8900"
    alertmanager: str = "alertmanager:9093"
    prometheus: str = "prometheus:9090"
    scrape_key: str = "/run/secrets/scrape_key"
    interval: str = "15s"
    receivers: Receivers = Receivers()
