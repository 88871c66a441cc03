"""The command line. Each command imports what it needs when it runs, so that `mlauto status` starts in a moment.

An error that mlauto raises on purpose is one red sentence and exit code 1; `mlauto --debug` shows the traceback too.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from mlauto.backtest_cli import backtest, history_options
from mlauto.ci_cli import ci
from mlauto.errors import MlautoError
from mlauto.export_cli import export
from mlauto.predictions_cli import predictions
from mlauto.settings import Settings

__all__ = ["cli", "main"]

TASKS = click.Choice(["classification", "regression"])
CSV = click.Path(exists=True, dir_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 an error of mlauto, 2 wrong usage, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = cli.main(words, prog_name="mlauto", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.secho("mlauto: interrupted", fg="red", err=True)
        return 130
    except MlautoError as error:
        if "--debug" in words[:1]:
            import traceback

            traceback.print_exc()
        click.secho(f"mlauto: {error}", fg="red", err=True)
        return 1
    return code if isinstance(code, int) else 0


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--debug", is_flag=True, help="Show the traceback of an error too.")
@click.pass_context
def cli(context: click.Context, debug: bool) -> None:
    """A scikit-learn model's whole life, unattended, as Dagster assets."""
    del debug  # read by `main`, which outlives the context
    context.obj = Settings.from_environment()


cli.add_command(backtest)
cli.add_command(ci)
cli.add_command(export)
cli.add_command(predictions)


@cli.command()
@click.argument("name")
@click.option("--from", "source", type=CSV, help="A CSV file with a header: schema and expectations come from it.")
@click.option("--target", help="The column to predict.")
@click.option("--task", type=TASKS)
@click.option("--timestamp", help="The column with the time of each row.")
@click.option("--exclude", default="", help="Columns that are never features, comma-separated.")
@click.pass_obj
def new(
    settings: Settings,
    *,
    name: str,
    source: Path | None,
    target: str | None,
    task: str | None,
    timestamp: str | None,
    exclude: str,
) -> None:
    """Make a product NAME: its YAML, its expectations, and a small model repository with tests."""
    from mlauto.commands.new import new_product
    from mlauto.commands.ui import next_step

    made = new_product(
        settings, name, source=source, target=target, task=task, timestamp=timestamp, exclude=_words(exclude)
    )
    click.echo(f"{made}\n{next_step(settings, name)}")


@cli.command()
@click.option("--json", "json_path", type=FILE, help="Also write the timeline there.")
@click.pass_context
def demo(context: click.Context, json_path: Path | None) -> None:
    """Run the whole loop, headless. Exit code 0 only when every step was observed."""
    from mlauto.commands.demo import run_demo

    context.exit(0 if run_demo(context.obj, json_path) else 1)


@cli.command()
@click.argument("csv", type=CSV)
@history_options(required=True)
@click.option("--json", "json_path", type=FILE, help="Also write the figures there.")
@click.option("--report", type=FILE, help="Where the report with plots goes.")
@click.pass_context
def replay(
    context: click.Context,
    *,
    csv: Path,
    target: str,
    task: str,
    timestamp: str | None,
    exclude: str,
    batches: int,
    initial: int,
    delay: int,
    json_path: Path | None,
    report: Path | None,
) -> None:
    """Drive the real loop with the rows of CSV, in order. Exit code 0 only when no request failed."""
    from mlauto.commands.replay import run_replay

    result = run_replay(
        context.obj,
        csv,
        target=target,
        task=task,
        timestamp=timestamp,
        exclude=_words(exclude),
        batches=batches,
        initial=initial,
        delay=delay,
        json_path=json_path,
        report=report,
    )
    context.exit(1 if result.failed_requests else 0)


@cli.command()
@click.argument("product", required=False)
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@click.pass_obj
def status(settings: Settings, product: str | None, as_json: bool) -> None:
    """Show each product's commit, data, model, image, production, verdict and incident.

    Exit code 1 when a product's YAML is wrong: what it did before is shown all the same.
    """
    from mlauto.commands.products import load_products, product_names
    from mlauto.commands.status import render, status_of

    names = product_names(settings)
    if product is not None and product not in names:
        raise MlautoError(f"no product {product!r} (known: {', '.join(names) or 'none yet, see `mlauto new --help`'})")
    found = [status_of(settings, name) for name in ([product] if product else names)]
    if as_json:
        _print_json(found)
    elif found:
        _print_rich(*(render(one) for one in found))
    else:
        click.echo("No product yet: `mlauto new NAME --from FILE.csv ...` makes one, `mlauto demo` shows one.")
    load_products(settings)


@cli.command()
@click.argument("prediction_id")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@click.pass_obj
def why(settings: Settings, prediction_id: str, as_json: bool) -> None:
    """Show what one prediction came from: commit, data, validation, MLflow run, image, Dagster run."""
    from mlauto.commands.why import explain, render

    found = explain(settings, prediction_id)
    if as_json:
        _print_json(found)
    else:
        _print_rich(render(found))


@cli.command()
@click.argument("product")
@click.option("--at", help="A time, UTC unless it says otherwise: 2026-05-01T12:30; default: now.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@click.pass_obj
def live(settings: Settings, product: str, at: str | None, as_json: bool) -> None:
    """Show which version of PRODUCT answered users at a time, with which data and commit."""
    import time

    from mlauto.commands.live import live_at, render, when

    found = live_at(settings, product, when(at, time.time()))
    if as_json:
        _print_json(found)
    else:
        _print_rich(render(found))


@cli.command()
@click.argument("product")
@click.option("--to", help="A version; default: the one that answered before.")
@click.pass_obj
def rollback(settings: Settings, product: str, to: str | None) -> None:
    """Give up PRODUCT's candidate; where none is on its way, put the previous version back and prove it."""
    from mlauto.commands.rollback import roll_back_product

    deployment = roll_back_product(settings, product, to)
    click.echo(f"{product}: the live server answers with version {deployment.version}")


@cli.command()
@click.argument("product")
@click.argument("batch", required=False)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("data-docs"), show_default=True)
@click.pass_obj
def docs(settings: Settings, product: str, batch: str | None, out: Path) -> None:
    """Write Great Expectations' Data Docs of a BATCH (default: the newest), accepted or quarantined."""
    from mlauto.commands.docs import make_docs

    click.echo(make_docs(settings, product, batch, out))


@cli.command()
@click.argument("product")
@click.argument("version", required=False)
@click.pass_obj
def approve(settings: Settings, product: str, version: str | None) -> None:
    """Let a verified VERSION (default: the newest) of a product with `mode: approve` go to production."""
    from mlauto.commands.approve import approve_version

    click.echo(approve_version(settings, product, version))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Say what is missing on this machine, and what to do. Exit code 1 if something needed is."""
    from mlauto.commands.doctor import examine
    from mlauto.commands.finding import healthy, render

    findings = examine(context.obj)
    if as_json:
        _print_json(findings)
    else:
        click.echo(render(findings))
    context.exit(0 if healthy(findings) else 1)


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True)
@click.pass_obj
def dev(settings: Settings, host: str, port: int) -> None:
    """Open the Dagster UI with the sensors running, until Ctrl-C."""
    from mlauto.commands.dev import run_dev

    run_dev(settings, host, port)


@cli.command()
@click.pass_obj
def env(settings: Settings) -> None:
    """Print shell commands for `eval "$(mlauto env)"`, after which dagster and dg see this installation."""
    import os

    from mlauto.commands.env import exports

    click.echo(exports(settings, path=os.environ.get("PATH", ""), threads=os.environ.get("OMP_NUM_THREADS")))


@cli.command()
def schema() -> None:
    """Print the JSON schema of a product's defs.yaml, for editors."""
    from mlauto.commands.products import json_schema

    _print_json(json_schema())


@cli.group()
def gateway() -> None:
    """The one process that owns the public port: start, stop, restart, status."""


@gateway.command("start")
@click.pass_obj
def gateway_start(settings: Settings) -> None:
    """Start it unless it runs; it outlives this command and Dagster."""
    from mlauto.commands.gateway import render, start_gateway

    click.echo(render(start_gateway(settings)))


@gateway.command("stop")
@click.pass_obj
def gateway_stop(settings: Settings) -> None:
    """End it and its model servers."""
    from mlauto.commands.gateway import stop_gateway

    click.echo("the gateway has ended" if stop_gateway(settings) else "no gateway was running")


@gateway.command("restart")
@click.pass_obj
def gateway_restart(settings: Settings) -> None:
    """Let a new process answer, with this code and these settings, without one failed request."""
    from mlauto.commands.gateway import render, restart_gateway

    click.echo(render(restart_gateway(settings)))


@gateway.command("status")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@click.pass_context
def gateway_status(context: click.Context, as_json: bool) -> None:
    """Ask it what it serves. Exit code 1 when none runs."""
    from mlauto.commands.gateway import gateway_state, render

    state = gateway_state(context.obj)
    if as_json:
        _print_json(state)
    else:
        click.echo(render(state))
    context.exit(0 if state.running else 1)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _print_json(value: object) -> None:
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value)).decode())


def _print_rich(*blocks: object) -> None:
    from rich.console import Console

    Console(highlight=False).print(*blocks, sep="\n")
