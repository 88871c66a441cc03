"""Alertmanager's routes and receivers, by its own tool."""

import re
from pathlib import Path

import pytest
import yaml

from mlauto.errors import MlautoError
from mlauto.export.alertmanager import CONSEQUENCES, alertmanager_yml
from mlauto.export.alerts import GROUPS
from mlauto.export.targets import Receivers
from mlauto_tests.export.conftest import ran

ALL = Receivers(
    webhook="http://127.0.0.1:9/in",
    watchdog="http://127.0.0.1:9/alive",
    slack="#models",
    mail="team@models.example",
    mail_from="mlauto@models.example",
    mail_user="mlauto",
    smarthost="mail.models.example:587",
)


def receivers(given: Receivers) -> dict[str, dict[str, object]]:
    return {one["name"]: one for one in yaml.safe_load(alertmanager_yml(given))["receivers"]}


def test_every_way_is_configured_and_no_secret_is_written() -> None:
    """Slack's address and the mail's password are names of files."""
    team = receivers(ALL)["team"]

    assert set(team) == {"name", "webhook_configs", "slack_configs", "email_configs"}
    assert "'api_url_file': '/etc/alertmanager/secrets/slack_url'" in str(team["slack_configs"])
    assert "'auth_password_file': '/etc/alertmanager/secrets/mail_password'" in str(team["email_configs"])
    assert receivers(ALL)["watchdog"]["webhook_configs"] == [
        {"url": "http://127.0.0.1:9/alive", "send_resolved": False}
    ]


def test_a_secret_address_is_the_name_of_a_file() -> None:
    """Where people say that it is one."""
    found = receivers(Receivers(webhook="file", watchdog="file", secrets="/run/s"))

    assert found["team"]["webhook_configs"] == [{"url_file": "/run/s/webhook_url", "send_resolved": True}]
    assert found["watchdog"]["webhook_configs"] == [{"url_file": "/run/s/watchdog_url", "send_resolved": False}]
    with pytest.raises(MlautoError, match="--webhook file"):
        alertmanager_yml(Receivers(webhook="https://x/?token=1"))


def test_without_receivers_the_file_says_that_nobody_is_told() -> None:
    """It is still one that Alertmanager takes, and shows what fires."""
    assert "# Nobody is told yet" in alertmanager_yml(Receivers())
    assert "# Nobody" not in alertmanager_yml(ALL)


def test_consequences_are_alerts_that_there_are() -> None:
    """Each name of the pattern matches one, and the cause is not among them."""
    pattern = CONSEQUENCES.removeprefix("alertname =~ ")
    names = [alert.name for group in GROUPS.values() for alert in group]

    assert all(any(re.fullmatch(part, name) for name in names) for part in pattern.split("|"))
    assert not re.fullmatch(pattern, "GatewayDown")
    assert not re.fullmatch(pattern, "Watchdog")


@pytest.mark.needs("amtool")
@pytest.mark.parametrize("given", [Receivers(), ALL], ids=["nobody", "all"])
def test_alertmanager_takes_it_and_routes_by_it(given: Receivers, tmp_path: Path) -> None:
    """The dead-man's switch goes where it is expected, everything else to the team."""
    (tmp_path / "alertmanager.yml").write_text(alertmanager_yml(given))

    done = ran("amtool", "check-config", "alertmanager.yml", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for labels, receiver in (
        (["alertname=Watchdog", "severity=none"], "watchdog"),
        (["alertname=GatewayDown", "severity=critical"], "team"),
        (["alertname=Drift", "severity=warning"], "team"),
    ):
        words = ["config", "routes", "test", "--config.file=alertmanager.yml", *labels]
        assert ran("amtool", *words, folder=tmp_path).stdout.strip() == receiver
