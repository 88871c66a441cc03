"""The words of `mlauto backtest`, which `mlauto.cli` takes in; like there, the body is imported when it runs."""

from pathlib import Path

import click

from mlauto.settings import Settings

__all__ = ["backtest"]

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.option(
    "--data", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The history."
)
@click.option("--target", required=True, help="The column to predict.")
@click.option("--task", type=click.Choice(["classification", "regression"]), required=True)
@click.option("--timestamp", help="The column with the time of each row: it must not go backwards.")
@click.option("--exclude", default="", help="Columns that are never features, comma-separated.")
@click.option("--batches", type=click.IntRange(min=2), default=50, show_default=True, help="Parts to cut the file in.")
@click.option("--initial", type=click.IntRange(min=1), default=5, show_default=True, help="Batches trained on first.")
@click.option("--delay", type=click.IntRange(min=0), default=0, show_default=True, help="Batches until labels arrive.")
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
@click.pass_obj
def backtest(
    settings: Settings,
    *,
    data: Path,
    target: str,
    task: str,
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
    """Try retraining policies on a file's history before one is switched on.

    Each batch is predicted before its labels may be used. An interrupted run goes on where it was.
    """
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
    kept = (cache or settings.home / "backtest").resolve()
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
