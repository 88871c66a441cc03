"""The words of `mlauto predictions`, which `mlauto.cli` takes in; like there, the body is imported when it runs."""

import click

from mlauto.settings import Settings

__all__ = ["predictions"]


@click.command()
@click.argument("product")
@click.option("--since", help="A time, UTC unless it says otherwise, or how long ago: 2026-05-01T12:30, 90m, 2h, 7d.")
@click.option("--until", help="The same; the end is not among them.")
@click.option("--version", help="Only those that this version answered.")
@click.option("--failed/--answered", default=None, help="Only requests that failed, or only those that did not.")
@click.option("--columns", default="", help="Comma-separated: of the request, of its rows, and any feature.")
@click.option("--labelled", is_flag=True, help="Only rows with a label, and the label.")
@click.option("--count", "only_count", is_flag=True, help="Only say how many requests there are, and how many failed.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many lines, the oldest ones.")
@click.option("--to", "target", default="-", show_default=True, help="FILE.parquet, FILE.csv, or - for CSV here.")
@click.pass_obj
def predictions(
    settings: Settings,
    *,
    product: str,
    since: str | None,
    until: str | None,
    version: str | None,
    failed: bool | None,
    columns: str,
    labelled: bool,
    only_count: bool,
    limit: int | None,
    target: str,
) -> None:
    """Ask PRODUCT's prediction log: what users asked, what was answered, and the truth where it is known.

    Columns of the request are id, time, version, ms, error, code, client_id and retried_from; of each of its rows row,
    prediction, probabilities and label; other names, or rows.NAME, are the columns that the model was asked with.
    """
    import time

    from mlauto.commands.predictions import count_predictions, export_predictions, query_of

    query = query_of(since, until, version=version, failed=failed, now=time.time())
    if only_count:
        click.echo(count_predictions(settings, product, query))
        return
    names = tuple(word.strip() for word in columns.split(",") if word.strip())
    said = export_predictions(settings, product, query, target, columns=names, labelled=labelled, limit=limit)
    if target != "-":
        click.echo(said)
