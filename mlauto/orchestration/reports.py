"""The verdict on a commit: from outside where there is one, else from checks of our own.

Which of them came first makes no difference: a verdict from outside that arrives during or after our own checks takes
their place, and as long as it is there our own are not run.
"""

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from mlauto.errors import ProductError
from mlauto.integration.outside import OutsideVerdicts, outside_report, read_verdicts
from mlauto.orchestration.platform import Platform
from mlauto.orchestration.render import table
from mlauto.orchestration.workshops import checked, is_current
from mlauto.product import ModelProduct
from mlauto.records import CiReport
from mlauto.store import digest_of

__all__ = ["current", "origin", "piece", "report_on", "shows"]


def report_on(platform: Platform, product: ModelProduct, sha: str, log: Callable[[str], None]) -> CiReport:
    """The commit's report, recorded. Raises `ProductError` while a verdict from outside is awaited."""
    from mlauto.integration.tracking import read_report, write_report

    store, name = platform.store, product.name
    known, said = read_report(store, name, sha), read_verdicts(store, name, sha)
    if known is not None and current(known, said) and is_current(platform, known):
        return known
    if said is None and product.code.external:
        raise ProductError(
            f"{name}: code.checks is external, and commit {sha[:12]} has no verdict yet: run `mlauto ci report"
            f" --product {name} --commit {sha} --passed` (or --failed), or list commands in code.checks"
        )
    commit = known.commit if known else platform.mirror(product).commit(sha)
    report = outside_report(commit, said) if said else checked(platform, product, commit, log)
    if said is None:  # somebody may have reported while our own checks ran
        said = read_verdicts(store, name, sha)
        report = outside_report(commit, said) if said else report
    log(f"commit {sha[:12]} {'passed' if report.passed else 'FAILED'}: the verdict of {report.source}")
    write_report(store, name, report)
    return report


def current(report: CiReport, said: OutsideVerdicts | None) -> bool:
    """Whether the report says what was reported from outside; where nothing was, any report does."""
    return said is None or report == outside_report(report.commit, said)


def piece(sha: str, said: OutsideVerdicts | None) -> str:
    """What is to be reported: a commit, or what was said outside of it, which is another piece of work each time."""
    return sha if said is None else f"{sha}/outside/{digest_of(said)[:16]}"


def origin(report: CiReport) -> Mapping[str, dg.MetadataValue[Any]]:
    """Who gave the verdict, and the page where that is explained: the failed check's, if one failed."""
    shown: dict[str, dg.MetadataValue[Any]] = {
        "source": dg.MetadataValue.text(report.source),
        "report": dg.MetadataValue.text(digest_of(report)),
    }
    pages = [(result.passed, result.command, result.url) for result in report.results if result.url]
    if pages:
        shown["url"] = dg.MetadataValue.url(min(pages)[2] or "")
    if len(pages) > 1:
        shown["urls"] = table(("check", "page"), [(command, url) for _, command, url in pages])
    return shown


def shows(materialization: dg.AssetMaterialization | None, report: CiReport) -> bool:
    """Whether Dagster's log holds that very report."""
    recorded = materialization.metadata.get("report") if materialization else None
    return recorded is not None and recorded.value == digest_of(report)
