"""Commits and the place where their code runs: what was tested is what trains, in one and the same image."""

from collections.abc import Callable

from mlauto.errors import TrainingError
from mlauto.orchestration.platform import Platform
from mlauto.product import ModelProduct
from mlauto.records import CiReport, Commit

__all__ = ["check_tested", "is_current", "tested"]


def tested(platform: Platform, product: ModelProduct, commit: Commit, log: Callable[[str], None]) -> CiReport:
    """The report of the product's checks on that commit; a tree that cannot be exported is a red one."""
    from mlauto.integration.checks import refused, run_checks
    from mlauto.integration.export import RefusedTreeError

    try:
        tree = platform.tree(product, commit)
    except RefusedTreeError as error:
        return refused(commit, str(error))
    checks, limit = product.code.checks, product.code.timeout
    return run_checks(commit, tree, checks, workshop=platform.workshop, timeout=limit, on_line=log)


def is_current(platform: Platform, report: CiReport) -> bool:
    """Whether a report comes from the image in which the commit would be tested, and trained, now."""
    return report.image == platform.workshop.image()


def check_tested(platform: Platform, product: ModelProduct, commit: Commit, log: Callable[[str], None]) -> None:
    """Test a commit again when that was done in another image than the one in which it is to be trained.

    The new report takes the place of the old one. Raises `TrainingError` when it is red.
    """
    from mlauto.integration.tracking import read_report, write_report

    known = read_report(platform.store, product.name, commit.sha)
    if known is None or is_current(platform, known):
        return
    log(f"commit {commit.sha[:12]} was tested in another image: it is tested again in the one that trains it")
    report = tested(platform, product, commit, log)
    write_report(platform.store, product.name, report)
    if not report.passed:
        failures = [line for result in report.results for line in result.failures]
        raise TrainingError(
            f"{product.name}: commit {commit.sha[:12]} was green in another image, but is not in the one that would"
            f" train it: {'; '.join(failures[:3])}"
        )
