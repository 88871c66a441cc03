"""The words of `mlauto export ...`, which `mlauto.cli` takes in; like there, the body is imported when it runs."""

from pathlib import Path

import click

from mlauto.settings import Settings

__all__ = ["export"]


@click.group()
def export() -> None:
    """Files for other programs, derived from the products' YAML: ops."""


@export.command("ops", context_settings={"auto_envvar_prefix": "MLAUTO_OPS"})
@click.option("--to", type=click.Path(file_okay=False, path_type=Path), help="Default: ops in the checkout.")
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 naming the files that differ.")
@click.option("--gateway", default="gateway:8900", show_default=True, help="host:port, as Prometheus reaches it.")
@click.option("--alertmanager", default="alertmanager:9093", show_default=True, help="Likewise.")
@click.option("--prometheus", default="prometheus:9090", show_default=True, help="host:port, as Grafana reaches it.")
@click.option("--scrape-key", default="/run/secrets/scrape_key", show_default=True, help="File with the key; '': none.")
@click.option("--interval", default="15s", show_default=True, help="How often Prometheus asks.")
@click.option("--webhook", default="", help="Address that alerts are sent to; or: file, if it is a secret.")
@click.option("--watchdog", default="", help="Address that expects the dead-man's switch; or: file.")
@click.option("--slack", default="", help="Channel, such as #models. Its address lies in a file.")
@click.option("--mail", default="", help="Address that is written to.")
@click.option("--mail-from", default="")
@click.option("--mail-user", default="", help="Its password lies in a file.")
@click.option("--smarthost", default="", help="host:port of the mail server.")
@click.option(
    "--secrets",
    default="/etc/alertmanager/secrets",
    show_default=True,
    help="Folder as Alertmanager sees it, with webhook_url, watchdog_url, slack_url, mail_password as needed.",
)
@click.pass_obj
def export_ops(settings: Settings, /, *, to: Path | None, check: bool, **options: str) -> None:
    """Write Prometheus' configuration and rules, Alertmanager's routes, and Grafana's dashboards.

    Each option may also be set as MLAUTO_OPS_..., such as MLAUTO_OPS_WEBHOOK.
    """
    from mlauto.commands.export import check_ops, export_ops
    from mlauto.export.targets import Receivers, Targets

    told = ("webhook", "watchdog", "slack", "mail", "mail_from", "mail_user", "smarthost", "secrets")
    receivers = Receivers(**{name: options.pop(name) for name in told})
    targets = Targets(receivers=receivers, **options)
    folder = to or settings.root / "ops"
    if check:
        check_ops(settings, folder, targets)
        click.echo(f"{folder} is as exported")
        return
    for path in export_ops(settings, folder, targets):
        click.echo(path)
