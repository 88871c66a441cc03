"""The commit sensor: every commit that came onto a product's branch is a partition, and is tested once.

A verdict that comes from outside is a further piece of work on its commit, however late it comes.
"""

import time
from collections.abc import Callable, Sequence

import dagster as dg

from mlauto.integration.git import Mirror
from mlauto.integration.outside import forget_strays, new_verdicts, read_verdicts, taken_up
from mlauto.integration.tracking import Cursor, Plan, has_report, read_report, track, verify
from mlauto.orchestration.gauges import note_waiting
from mlauto.orchestration.names import WORK_TAG, asset_key, commit_partitions
from mlauto.orchestration.platform import Platform
from mlauto.orchestration.problems import kept_problem
from mlauto.orchestration.reports import current, piece, shows
from mlauto.orchestration.sensors.work import Tick, Work, active, each_product
from mlauto.product import ModelProduct

__all__ = ["commits_sensor"]

ASKED_PER_TICK = 10
PARTITIONS_KEPT = 2000
GIVEN_UP_KEPT = 200
PATIENCE = 3600.0  # seconds that another CI may take before people are told


def commits_sensor(products: Sequence[ModelProduct], platform: Platform) -> dg.SensorDefinition:
    """One sensor for the model repositories of all products."""
    seen: set[tuple[str, str]] = set()  # commits whose report is in Dagster's log: asked once per process

    def look(tick: Tick, product: ModelProduct) -> None:
        with kept_problem(platform.store, product.name, "commits") as remarks:
            _tick(tick, platform, product, seen)
            if tick.cursors[product.name].get("tip") is None:
                remarks.append(f"{product.code.repository} has no branch {product.code.branch!r} with a commit yet")
            remarks.extend(_waiting(tick, platform, product, time.time()))

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        return each_product(context, products, look)

    return dg.SensorDefinition(
        name="commits",
        evaluation_fn=evaluate,
        asset_selection=dg.AssetSelection.all(),
        minimum_interval_seconds=platform.settings.tick_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="New git commits: each is tested; the newest green one is the verified commit.",
    )


def _tick(tick: Tick, platform: Platform, product: ModelProduct, seen: set[tuple[str, str]]) -> None:
    memory = tick.cursors.setdefault(product.name, {})
    tip, base = memory.get("tip"), memory.get("base")
    cursor = Cursor(tip=str(tip) if tip else None, base=str(base) if base else None)
    given_up = [str(sha) for sha in _list(memory.get("given_up"))]
    mirror = platform.mirror(product)
    settled = _settled(tick, platform, product, seen, given_up)
    plan = track(mirror, cursor, settled, limit=ASKED_PER_TICK)
    memory.update(tip=plan.cursor.tip, base=plan.cursor.base)
    late = [sha for sha in _late(platform, product, mirror, settled) if sha not in plan.test]
    if plan.test or late:
        memory["verified_at"] = None  # whatever is found, the verified commit may be another one then
    if plan.waiting:
        tick.notes.append(f"{product.name}: {plan.waiting} more commits wait for their turn")
    for sha in (*plan.test, *late)[:ASKED_PER_TICK]:
        name = piece(sha, read_verdicts(platform.store, product.name, sha))
        work = Work(
            name=f"{product.name}/commit/{name}",
            selection=[asset_key(product, "ci_report"), asset_key(product, "verified_commit")],
            partition=sha,
        )
        if tick.exhausted(work):
            given_up = [*given_up, name][-GIVEN_UP_KEPT:]
            tick.notes.append(
                f"{product.name}: gave up on commit {sha[:12]}: see its failed runs, then materialize that partition of"
                f" {product.name}/ci_report by hand"
            )
        elif tick.ask(work):
            _announce(tick, product, sha)
    memory["given_up"] = given_up
    note_waiting(platform.store, product.name, _missing(plan, late), time.time())
    if not plan.test and not late and plan.cursor.tip not in (None, memory.get("verified_at")):
        known = _verified_commit_is_current(tick, platform, product)
        memory["verified_at"] = plan.cursor.tip if known else None


def _missing(plan: Plan, late: Sequence[str]) -> list[str]:
    """The commits that are asked for now, and the oldest one that waits for a later look."""
    oldest = [plan.cursor.base] if plan.waiting and plan.cursor.base is not None else []
    return [*plan.test, *late, *oldest]


def _waiting(tick: Tick, platform: Platform, product: ModelProduct, now: float) -> list[str]:
    """What to say of a branch whose tip has waited for its verdict from outside for more than an hour."""
    memory = tick.cursors[product.name]
    tip = memory.get("tip")
    if not (product.code.external and isinstance(tip, str)):
        return []
    if read_verdicts(platform.store, product.name, tip) or has_report(platform.store, product.name, tip):
        return []
    awaited = f"commit {tip[:12]} waits for its verdict from outside (`mlauto ci report`)"
    tick.notes.append(f"{product.name}: {awaited}")
    if memory.get("awaited") != tip:
        memory.update(awaited=tip, awaited_since=now)
    since = memory.get("awaited_since")
    return [awaited] if isinstance(since, float) and now - since > PATIENCE else []


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _settled(
    tick: Tick, platform: Platform, product: ModelProduct, seen: set[tuple[str, str]], given_up: Sequence[str]
) -> Callable[[str], bool]:
    """Whether a commit's report exists here and in Dagster's log; a report whose run died is asked for again.

    A commit that is tested outside only needs none before its verdict is there; a newer verdict needs a newer report.
    """

    def settled(sha: str) -> bool:
        said = read_verdicts(platform.store, product.name, sha)
        if said is None and product.code.external:
            return True
        name = piece(sha, said)
        if (product.name, name) in seen or name in given_up:
            return True
        report = read_report(platform.store, product.name, sha)
        if report is None or not current(report, said):
            return False
        wanted = dg.AssetRecordsFilter(asset_key=asset_key(product, "ci_report"), asset_partitions=[sha])
        newest = tick.instance.fetch_materializations(wanted, limit=1).records
        materialization = newest[0].asset_materialization if newest else None
        if not newest or (said is not None and not shows(materialization, report)):
            return False
        seen.add((product.name, name))
        return True

    return settled


def _late(platform: Platform, product: ModelProduct, mirror: Mirror, settled: Callable[[str], bool]) -> tuple[str, ...]:
    """Commits of the branch with a verdict from outside that no run has taken up yet, whenever they were committed."""
    found = new_verdicts(platform.store, product.name, mirror)
    late = []
    for sha in found:
        said = read_verdicts(platform.store, product.name, sha)
        if settled(sha):
            taken_up(platform.store, product.name, sha, said)
        else:
            late.append(sha)
    forget_strays(platform.store, product.name, found)
    return tuple(late)


def _announce(tick: Tick, product: ModelProduct, sha: str) -> None:
    """Register the commit's partition and materialization, and drop the oldest partitions."""
    partitions = commit_partitions(product)
    existing = tick.instance.get_dynamic_partitions(f"{product.name}_commits")
    if sha in existing:
        return
    tick.partitions.append(partitions.build_add_request([sha]))
    tick.events.append(
        dg.AssetMaterialization(
            asset_key(product, "commit"), partition=sha, tags={"dagster/data_version": sha}, metadata={"commit": sha}
        )
    )
    if len(existing) >= PARTITIONS_KEPT:
        tick.partitions.append(partitions.build_delete_request(list(existing[: len(existing) - PARTITIONS_KEPT + 1])))


def _verified_commit_is_current(tick: Tick, platform: Platform, product: ModelProduct) -> bool:
    """Whether Dagster knows the verified commit of this tip; if not (a lost run, a rewind) it is asked for."""
    verified = verify(platform.store, product.name, platform.mirror(product))
    if verified is None:
        return True
    event = tick.instance.get_latest_materialization_event(asset_key(product, "verified_commit"))
    materialization = event.asset_materialization if event else None
    recorded = (materialization.tags or {}).get("dagster/data_version") if materialization else None
    if recorded == verified.commit.tree:
        return True
    sha = verified.commit.sha
    part = piece(sha, read_verdicts(platform.store, product.name, sha))
    if not active(tick.instance, {WORK_TAG: f"{product.name}/commit/{part}"}):  # which records it by itself
        # named after what it replaces, too: a branch may be wound back to the same commit more than once
        name = f"{product.name}/verified/{sha}/after/{event.run_id if event else 'nothing'}"
        tick.ask(Work(name=name, selection=[asset_key(product, "verified_commit")]))
    return False
