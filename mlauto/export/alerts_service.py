"""Alerts on what users notice: the gateway, the service level that each product promises, and who watches them."""

from mlauto.export.alert import Alert
from mlauto.export.rules import BURNS
from mlauto.export.scrape import JOB

__all__ = ["GATEWAY", "PLANE", "SERVICE"]

P = "{{ $labels.product }}"
V = "{{ $labels.product }} {{ $labels.version }}"
SHARE = "{{ $value | humanizePercentage }}"
STATUS = f"mlauto status {P}"
SERVED = "sum by (product) (mlauto_version_champion == 1)"
FEWEST_FAILED = 5  # fewer failures in the long window are no emergency, whatever their share
FEWEST_REQUESTS = 100  # one slow request among fewer is more than a hundredth

GATEWAY = (
    Alert(
        name="Watchdog",
        expr="vector(1)",
        severity="none",
        summary="Alerts arrive. This one always fires; when it stays away, the watching itself is broken.",
        action="Nothing: whoever expects it tells you when it does not come. Then look at Prometheus and Alertmanager.",
    ),
    Alert(
        name="GatewayDown",
        expr=f'up{{job="{JOB}"}} == 0',
        lasting="1m",
        severity="critical",
        summary="The gateway does not answer, so no product does.",
        action="docker compose -f ops/compose.yaml ps gateway, then its log.",
    ),
    Alert(
        name="GatewayNotScraped",
        expr=f'absent(up{{job="{JOB}"}})',
        lasting="5m",
        severity="critical",
        summary="Prometheus asks no gateway, so none of its alerts can fire.",
        action="Look at Prometheus' targets; mlauto export ops writes its configuration.",
    ),
    Alert(
        name="ChampionNotReady",
        expr="mlauto_version_champion == 1 and on (product, version) mlauto_version_ready == 0",
        lasting="1m",
        severity="critical",
        summary=f"{P}: its champion, version {{{{ $labels.version }}}}, is not ready.",
        action=f"{STATUS}; mlauto rollback {P} puts the previous one back.",
    ),
    Alert(
        name="VersionRestarts",
        expr="changes(mlauto_version_starts[15m]) >= 3",
        severity="warning",
        summary=f"{V} was started {{{{ $value }}}} times within 15 minutes.",
        action="Its log is in gateway/logs of the state directory.",
    ),
    Alert(
        name="PredictionLogFails",
        # a counter's first value is no increase, so a series that was not there counts as well
        expr="increase(mlauto_log_failures_total[15m]) > 0\n"
        "  or (mlauto_log_failures_total > 0 unless mlauto_log_failures_total offset 15m)",
        severity="critical",
        summary=f"{P}: predictions are answered but not logged, so its live metrics are incomplete.",
        action="Is the disk with the state directory full?",
    ),
)


def _errors(burn: str, severity: str, spent: str) -> Alert:
    _, long, short = BURNS[burn]
    limit = f'on (product) mlauto:error_limit{{burn="{burn}"}}'
    many = f'sum by (product) (increase(mlauto_requests_total{{product!="", code=~"5.."}}[{long}])) >= {FEWEST_FAILED}'
    return Alert(
        name=f"ErrorBudget{burn.capitalize()}",
        expr=f"mlauto:error_ratio:rate{long} > {limit}\n"
        f"  and mlauto:error_ratio:rate{short} > {limit}\n"
        f"  and on (product) {many}",
        severity=severity,
        summary=f"{P}: {SHARE} of its requests failed within {long}, and still do: {spent}.",
        action=f"{STATUS} says which version answers and why; mlauto rollback {P} puts the previous one back.",
    )


def _latency(burn: str, severity: str) -> Alert:
    _, long, short = BURNS[burn]
    limit = f'on (product) mlauto:slow_limit{{burn="{burn}"}}'
    many = f"sum by (product) (increase(mlauto_request_seconds_count[{long}])) >= {FEWEST_REQUESTS}"
    return Alert(
        name=f"LatencyBudget{burn.capitalize()}",
        expr=f"mlauto:slow_ratio:rate{long} > {limit}\n"
        f"  and mlauto:slow_ratio:rate{short} > {limit}\n"
        f"  and on (product) {many}",
        severity=severity,
        summary=f"{P}: {SHARE} of its requests within {long} were slower than promised; 1% may be.",
        action=f"Look whether the machine is short of processors, then at the version's size: {STATUS}.",
    )


SERVICE = (
    _errors("fast", "critical", "the errors allowed for a month last two days"),
    _errors("slow", "critical", "the errors allowed for a month last five days"),
    _errors("drip", "warning", "more than is promised"),
    _latency("fast", "critical"),
    _latency("slow", "warning"),
    _latency("drip", "warning"),
    Alert(
        name="VersionSlow",
        expr="mlauto:request_seconds:p99 > on (product) group_left () mlauto:slo_p99_seconds",
        lasting="5m",
        severity="warning",
        summary=f"{V}: the slowest hundredth takes {{{{ $value | humanizeDuration }}}}, longer than is promised.",
        action="Look whether the machine is short of processors, then at the version's size.",
    ),
)

PLANE = (
    Alert(
        name="ControlPlaneStale",
        expr="time() - mlauto_gauges_timestamp_seconds > on (product) mlauto:stale_after_seconds",
        severity="critical",
        summary=f"{P}: not looked at for {{{{ $value | humanizeDuration }}}}. Users are answered, nobody judges how.",
        action="Is the Dagster daemon running, and its sensor `live` on? See its ticks in the UI.",
    ),
    Alert(
        name="ControlPlaneSilent",
        expr=f"{SERVED} unless on (product) mlauto_gauges_timestamp_seconds",
        lasting="15m",
        severity="critical",
        summary=f"{P} answers users, and the control plane has never said anything about it.",
        action=f"Is the Dagster daemon running with this product, on the gateway's state directory? {STATUS}",
    ),
    Alert(
        name="ControlPlaneUnreadable",
        expr="mlauto_gauges_readable == 0 or mlauto_gauges_refused > 0",
        lasting="5m",
        severity="warning",
        summary=f"{P}: what the control plane recorded cannot be shown in full, so alerts on it may not fire.",
        action="Do the gateway and Dagster run the same version? See records/gauges.json of the product.",
    ),
    Alert(
        name="RulesOutdated",
        expr=f"{SERVED} unless on (product) mlauto:slo_p99_seconds",
        lasting="15m",
        severity="warning",
        summary=f"{P} answers users, and Prometheus does not know its limits: nobody is told when it misses them.",
        action="mlauto export ops, then let Prometheus load its configuration again.",
    ),
    Alert(
        name="ProductNotServed",
        expr=f"mlauto:slo_p99_seconds unless on (product) {SERVED}",
        lasting="30m",
        severity="warning",
        summary=f"{P} is set up, and no version of it answers users.",
        action=f"{STATUS} says what its first version waits for.",
    ),
    Alert(
        name="QueueStuck",
        expr="mlauto_queue_oldest_seconds > 3600",
        severity="warning",
        summary=f"{P}: {{{{ $labels.queue }}}} wait since {{{{ $value | humanizeDuration }}}} for their outcome.",
        action=f"{STATUS}; the runs in progress and their logs are in the Dagster UI.",
    ),
    Alert(
        name="ProblemLasts",
        expr="mlauto_problem_seconds > 900",
        severity="warning",
        summary=f"{P}: {{{{ $labels.where }}}} has failed for {{{{ $value | humanizeDuration }}}}.",
        action=f"{STATUS} shows the error in words.",
    ),
)
