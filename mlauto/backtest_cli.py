"""The words of `mlauto backtest`, which `mlauto.cli` takes in; like there, the body is imported when it runs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from mlauto.settings import Settings

__all__ = ["backtest", "history_options"]

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
FILE_ONLY = ("data", "target", "task", "timestamp", "exclude", "batches", "model", "backend")
Command = Callable[..., Any]


def history_options(required: bool) -> Callable[[Command], Command]:
    """The options that say what the columns of a file are, and how its rows come; `replay` has the same."""
    given = (
        click.option("--target", required=required, help="The column to predict."),
        click.option("--task", type=click.Choice(["classification", "regression"]), required=required),
        click.option("--timestamp", help="The column with the time of each row: it must not go backwards."),
        click.option("--exclude", default="", help="Columns that are never features, comma-separated."),
        click.option(
            "--batches", type=click.IntRange(min=2), default=50, show_default=True, help="Parts to cut the file in."
        ),
        click.option(
            "--initial", type=click.IntRange(min=1), default=5, show_default=True, help="Batches trained on first."
        ),
        click.option(
            "--delay", type=click.IntRange(min=0), default=0, show_default=True, help="Batches until labels arrive."
        ),
    )

    def decorate(command: Command) -> Command:
        for option in reversed(given):
            command = option(command)
        return command

    return decorate


@click.command()
@click.argument("product", required=False)
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The history.")
@history_options(required=False)
@click.option("--model", default="hgb", show_default=True, help="hgb, linear, or your own module:function.")
@click.option(
    "--policy",
    "policies",
    multiple=True,
    help="never, economy, quality, every_batch, or knobs: '{on_degraded: true, every_batches: 4}'. Default: all four.",
)
@click.option("--json", "json_path", type=FILE, help="Write figures and decisions there.")
@click.option("--chart", type=FILE, help="Draw quality against trainings there, as an SVG.")
@click.option("--cache", type=FOLDER, help="Where fits are kept. Default: backtest in the state directory.")
@click.option(
    "--backend",
    type=click.Choice(["local", "joblib-dask", "joblib-ray"]),
    default="local",
    show_default=True,
    help="What makes the fits: this machine, or a cluster (MLAUTO_DASK_ADDRESS, RAY_ADDRESS).",
)
@click.pass_context
def backtest(
    context: click.Context,
    *,
    product: str | None,
    data: Path | None,
    target: str | None,
    task: str | None,
    timestamp: str | None,
    exclude: str,
    batches: int,
    initial: int,
    delay: int,
    model: str,
    policies: tuple[str, ...],
    json_path: Path | None,
    chart: Path | None,
    cache: Path | None,
    backend: str,
) -> None:
    """Try retraining policies on the history of a PRODUCT, or of a file, before one is switched on.

    Each batch is predicted before its labels may be used. An interrupted run goes on where it was. A product's own
    batches, columns, code and policy are taken from its YAML and the store; a file needs --data, --target and --task.
    """
    settings: Settings = context.obj
    kept = (cache or settings.home / "backtest").resolve()
    if product is not None:
        _refuse(context, FILE_ONLY)
        how = {"initial": initial, "delay": delay, "policies": policies, "json_path": json_path, "chart": chart}
        _on_product(settings, product, kept, how)
        return
    if data is None or target is None or task is None:
        raise click.UsageError("name a PRODUCT, or give --data, --target and --task", context)
    from mlauto.commands.backtest import run_backtest
    from mlauto.commands.history import Plan

    plan = Plan(
        target=target,
        task=task,
        timestamp=timestamp,
        exclude=tuple(word.strip() for word in exclude.split(",") if word.strip()),
        batches=batches,
        initial=initial,
        delay=delay,
    )
    run_backtest(
        data,
        plan,
        cache=kept,
        model=model,
        policies=policies,
        engine=(backend, settings.engine_address(backend)),
        json_path=json_path,
        chart=chart,
    )


def _on_product(settings: Settings, name: str, kept: Path, how: dict[str, Any]) -> None:
    from mlauto.commands.backtest_product import run_product_backtest
    from mlauto.commands.products import find_product
    from mlauto.orchestration.platform import Platform

    run_product_backtest(Platform.from_settings(settings), find_product(settings, name), cache=kept, **how)


def _refuse(context: click.Context, names: Sequence[str]) -> None:
    """Raises `click.UsageError` when one of the options was given beside a product."""
    for name in names:
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(
                f"PRODUCT and --{name} exclude one another: a product's history is its stored batches", context
            )
