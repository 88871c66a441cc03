"""Alertmanager's configuration: which alerts go together, who is told how, what is silent as a mere consequence."""

from typing import Any

from mlauto.export.targets import FROM_FILE, Receivers
from mlauto.export.text import yaml_text

__all__ = ["alertmanager_yml"]

TITLE = "{{ .GroupLabels.alertname }} {{ .GroupLabels.product }}"
TEXT = "{{ range .Alerts }}{{ .Annotations.summary }} {{ .Annotations.action }}\n{{ end }}"
CONSEQUENCES = "alertname =~ ChampionNotReady|Control.*|ErrorBudget.*|LatencyBudget.*|Verdict.*|ProductNotServed"


def alertmanager_yml(receivers: Receivers) -> str:
    """The file `alertmanager.yml`. Raises `MlautoError` for receivers that would put a secret into it."""
    receivers.check()
    watchdog = {"name": "watchdog", **_webhooks(receivers.watchdog, "watchdog_url", receivers, resolved=False)}
    team: dict[str, Any] = {"name": "team", **_webhooks(receivers.webhook, "webhook_url", receivers, resolved=True)}
    if receivers.slack:
        team["slack_configs"] = [_slack(receivers)]
    if receivers.mail:
        team["email_configs"] = [_mail(receivers)]
    document = {
        "route": _route(),
        "receivers": [team, watchdog],
        "inhibit_rules": [
            {  # Without a gateway these are consequences.
                "source_matchers": ["alertname = GatewayDown"],
                "target_matchers": [CONSEQUENCES],
            },
            {  # A version that answers nobody is slow, too.
                "source_matchers": ["alertname = ErrorBudgetFast"],
                "target_matchers": ["alertname =~ ErrorBudgetSlow|ErrorBudgetDrip"],
                "equal": ["product"],
            },
        ],
    }
    nobody = ("Nobody is told yet: see `mlauto export ops --help`.",) if len(team) == 1 else ()
    return yaml_text(document, "One message for each product and alert.", *nobody)


def _route() -> dict[str, Any]:
    return {
        "receiver": "team",
        "group_by": ["alertname", "product"],
        "group_wait": "15s",
        "group_interval": "5m",
        "repeat_interval": "4h",
        "routes": [
            {  # A dead-man's switch: its receiver expects it again and again.
                "matchers": ["alertname = Watchdog"],
                "receiver": "watchdog",
                "group_wait": "0s",
                "group_interval": "1m",
                "repeat_interval": "1m",
            },
            {"matchers": ["severity = critical"], "receiver": "team", "repeat_interval": "1h"},
        ],
    }


def _webhooks(address: str, file: str, receivers: Receivers, *, resolved: bool) -> dict[str, Any]:
    if not address:
        return {}
    where = {"url_file": f"{receivers.secrets}/{file}"} if address == FROM_FILE else {"url": address}
    return {"webhook_configs": [{**where, "send_resolved": resolved}]}


def _slack(receivers: Receivers) -> dict[str, Any]:
    return {
        "api_url_file": f"{receivers.secrets}/slack_url",
        "channel": receivers.slack,
        "send_resolved": True,
        "title": TITLE,
        "text": TEXT,
    }


def _mail(receivers: Receivers) -> dict[str, Any]:
    found: dict[str, Any] = {
        "to": receivers.mail,
        "from": receivers.mail_from,
        "smarthost": receivers.smarthost,
        "send_resolved": True,
        "headers": {"Subject": TITLE},
        "text": TEXT,
    }
    if receivers.mail_user:
        found |= {"auth_username": receivers.mail_user, "auth_password_file": f"{receivers.secrets}/mail_password"}
    return found
