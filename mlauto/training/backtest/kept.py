"""How long the fits of backtests are kept."""

from pathlib import Path

from mlauto.runtime.keeping import forget_unused, keep_below

__all__ = ["CACHE_LIMIT", "forget_fits"]

CACHE_LIMIT = 1 << 30  # bytes; four policies on 45,000 rows leave 70 MB where there are two classes


def forget_fits(cache: Path) -> None:
    """Remove the kept fits that no backtest has used for 60 days, and the longest unused ones beyond 1 GiB."""
    forget_unused(cache)
    keep_below(cache, CACHE_LIMIT)
