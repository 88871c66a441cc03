"""Addresses and receivers: what is missing or secret is refused in words."""

import pytest

from mlauto.errors import MlautoError
from mlauto.export.targets import FROM_FILE, Receivers, Targets


@pytest.mark.parametrize("address", ["", FROM_FILE, "http://127.0.0.1:9/hook", "https://alerts.example/in"])
def test_a_plain_address_may_be_written_down(address: str) -> None:
    """Or none, or one in a file."""
    given = Receivers(webhook=address, watchdog=address)
    given.check()

    assert (given.webhook, given.watchdog) == (address, address)


@pytest.mark.parametrize("option", ["webhook", "watchdog"])
@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ftp://x", "neither"),
        ("alerts.example", "neither"),
        ("http://", "neither"),
        ("http://me:key@x/in", "use --"),
        ("https://x/in?token=1", "use --"),
    ],
)
def test_a_secret_or_a_wrong_address_is_refused(option: str, address: str, said: str) -> None:
    """The message names the option and does not repeat the secret."""
    with pytest.raises(MlautoError, match=f"--{option}.*{said}") as failed:
        Receivers(**{option: address}).check()
    assert "token=1" not in str(failed.value)
    assert "me:key" not in str(failed.value)


@pytest.mark.parametrize("given", [{}, {"mail_from": "a@b.example"}, {"smarthost": "b.example:25"}])
def test_mail_needs_a_sender_and_a_server(given: dict[str, str]) -> None:
    """All three or none."""
    with pytest.raises(MlautoError, match="--mail needs --mail-from and --smarthost"):
        Receivers(mail="team@b.example", **given).check()


def test_the_defaults_are_those_of_compose() -> None:
    """By its services' names, and nobody is told."""
    assert (Targets().gateway, Targets().alertmanager, Targets().prometheus) == (
        "gateway:8900",
        "alertmanager:9093",
        "prometheus:9090",
    )
    Targets().receivers.check()
