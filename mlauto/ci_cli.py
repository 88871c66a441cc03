"""The words of `mlauto ci ...`, which `mlauto.cli` takes in; like there, the body is imported when it runs."""

from pathlib import Path

import click

from mlauto.settings import Settings

__all__ = ["ci"]


@click.group()
def ci() -> None:
    """Verdicts of another CI on commits of a product: report."""


@ci.command("report")
@click.option("--commit", required=True, help="The full SHA.")
@click.option("--passed/--failed", required=True, help="What your checks said of it.")
@click.option("--product", help="May be left out where there is one only.")
@click.option("--command", help="Name of the check: its newest verdict counts. Default: the host of --url.")
@click.option("--url", help="Page of the run that gave the verdict.")
@click.option("--detail", default="", help="What to show people.")
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), help="A JUnit XML report.")
@click.pass_obj
def ci_report(
    settings: Settings,
    *,
    commit: str,
    passed: bool,
    product: str | None,
    command: str | None,
    url: str | None,
    detail: str,
    junit: Path | None,
) -> None:
    """Record a verdict on a commit, which then counts instead of checks run here."""
    from mlauto.commands.ci import report_verdict

    said = report_verdict(
        settings, commit, passed=passed, product=product, command=command, url=url, detail=detail, junit=junit
    )
    click.echo(said)
