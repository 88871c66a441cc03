"""Level-triggered requests: a piece of work is done when its outcome exists, and is asked for again when a run is lost.

A run key that was consumed must not lose work, so the key carries the attempt, counted from the runs' own tags; while a
run for the same work is active, or when the attempts are used up, nothing is asked for.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import dagster as dg
import msgspec

from mlauto.errors import MlautoError
from mlauto.orchestration.names import ATTEMPT_TAG, WORK_TAG
from mlauto.product import ModelProduct
from mlauto.serving.boundary import contained

__all__ = ["ACTIVE", "MAX_ATTEMPTS", "Tick", "Work", "active", "attempts_made", "each_product", "request"]

ACTIVE = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
MAX_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class Work:
    """Something that a run should do; `name` is its identity over all attempts."""

    name: str
    selection: Sequence[dg.AssetKey]
    partition: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    max_attempts: int = MAX_ATTEMPTS


@dataclass
class Tick:
    """What one tick gathers over all products, and what each product remembers until the next."""

    instance: dg.DagsterInstance
    cursors: dict[str, dict[str, object]]
    requests: list[dg.RunRequest] = field(default_factory=list)
    events: list[dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation] = field(default_factory=list)
    partitions: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def ask(self, work: Work) -> bool:
        """Add a request for the work unless one is active or the attempts are used up; True when it was added."""
        wanted = request(self.instance, work)
        if isinstance(wanted, str):
            self.notes.append(wanted)
            return False
        self.requests.append(wanted)
        return True

    def exhausted(self, work: Work) -> bool:
        """Whether every attempt at the work was made, and none is under way."""
        made = attempts_made(self.instance, work) >= work.max_attempts
        return made and not active(self.instance, {WORK_TAG: work.name})


def attempts_made(instance: dg.DagsterInstance, work: Work) -> int:
    """How many runs there were for this work."""
    return instance.get_runs_count(dg.RunsFilter(tags={WORK_TAG: work.name}))


def active(instance: dg.DagsterInstance, tags: Mapping[str, str]) -> bool:
    """Whether a run with these tags is queued or running."""
    return bool(instance.get_runs(dg.RunsFilter(tags=dict(tags), statuses=list(ACTIVE)), limit=1))


def request(instance: dg.DagsterInstance, work: Work) -> dg.RunRequest | str:
    """The run request for this work, or the sentence that says why there is none now."""
    tags = {WORK_TAG: work.name}
    if active(instance, tags):
        return f"{work.name}: in progress"
    attempts = attempts_made(instance, work)
    if attempts >= work.max_attempts:
        return f"{work.name}: gave up after {attempts} attempts; see the failed runs, then materialize it by hand"
    return dg.RunRequest(
        run_key=f"{work.name}#{attempts + 1}",
        asset_selection=list(work.selection),
        partition_key=work.partition,
        tags={**work.tags, **tags, ATTEMPT_TAG: str(attempts + 1)},
    )


def each_product(
    context: dg.SensorEvaluationContext,
    products: Iterable[ModelProduct],
    evaluate: Callable[[Tick, ModelProduct], None],
) -> dg.SensorResult | dg.SkipReason:
    """One tick over all products. A product's fault is reported and never stops the others.

    The tick fails, with every fault in its message, only when no product has anything to report: a failed tick would
    throw away what the healthy ones asked for.
    """
    tick = Tick(instance=context.instance, cursors=_cursors(context))
    faults = []
    for product in products:
        try:
            with contained(_fault):
                evaluate(tick, product)
        except MlautoError as fault:
            unforeseen = isinstance(fault, _UnforeseenError)  # what we say on purpose needs no traceback
            context.log.warning("%s is left out of this tick: %s", product.name, fault, exc_info=unforeseen)
            faults.append(f"{product.name}: {fault}")
    if faults and not (tick.requests or tick.events or tick.partitions):
        raise MlautoError("; ".join(faults))
    for note in tick.notes:
        context.log.info(note)
    return dg.SensorResult(
        run_requests=tick.requests,
        asset_events=tick.events,
        dynamic_partitions_requests=tick.partitions,
        cursor=msgspec.json.encode(tick.cursors).decode(),
        skip_reason=None if tick.requests else dg.SkipReason("; ".join(tick.notes[:5]) or "nothing new"),
    )


class _UnforeseenError(MlautoError):
    """What else a product's sensor raised, in its words."""


def _fault(error: Exception) -> Exception:
    return error if isinstance(error, MlautoError) else _UnforeseenError(str(error))


def _cursors(context: dg.SensorEvaluationContext) -> dict[str, dict[str, object]]:
    """What each product remembers; nothing when it cannot be read, for losing it costs one longer look."""
    try:
        return msgspec.json.decode(context.cursor or "{}", type=dict[str, dict[str, object]])
    except msgspec.MsgspecError as error:
        context.log.warning("the cursor is not ours and is begun anew: %s", error)
        return {}
