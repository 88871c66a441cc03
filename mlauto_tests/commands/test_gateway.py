"""Starting, asking and ending the real gateway process."""

import dataclasses
import os
import signal
import socket
from collections.abc import Iterator

import pytest

from mlauto.commands.gateway import GatewayState, gateway_state, render, restart_gateway, start_gateway, stop_gateway
from mlauto.errors import DeliveryError
from mlauto.settings import Settings


@pytest.fixture
def here(settings: Settings) -> Iterator[Settings]:
    """Settings with a port that nothing listens on; a gateway that a test leaves behind is ended."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    used = dataclasses.replace(settings, gateway_port=port)
    yield used
    stop_gateway(used)


def test_no_gateway(here: Settings) -> None:
    """Nothing to ask and nothing to stop; asking makes nothing on disk and the text says what to do."""
    state = gateway_state(here)

    assert state == GatewayState(url=here.gateway_url, pid=None, products={})
    assert not state.running
    assert "mlauto gateway start" in render(state)
    assert stop_gateway(here) is False
    assert not here.home.exists()


@pytest.mark.live
def test_it_starts_once_and_ends(here: Settings) -> None:
    """Start returns when it answers, a second start finds the same process, stop ends it."""
    first = start_gateway(here)
    second = start_gateway(here)
    ended = stop_gateway(here)

    assert first.running
    assert first == second == GatewayState(url=here.gateway_url, pid=first.pid, products={}, workers=(first.pid,))
    assert ended
    assert not gateway_state(here).running
    assert stop_gateway(here) is False


@pytest.mark.live
def test_it_is_restarted_in_its_place(here: Settings) -> None:
    """Another process answers, the guardian stays; where none ran, one is started."""
    first = restart_gateway(here)
    second = restart_gateway(here)

    assert first.running
    assert second.running
    assert second.pid != first.pid


@pytest.mark.live
def test_a_killed_gateway_is_not_running(here: Settings) -> None:
    """After kill -9 its pid file stays, but nobody is fooled, and it can be started again."""
    first = start_gateway(here)
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)

    second = start_gateway(here)

    assert second.running
    assert second.pid != first.pid


@pytest.mark.live
def test_another_program_on_its_port(here: Settings) -> None:
    """The start fails with a sentence instead of pretending."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", here.gateway_port))
        other.listen()

        with pytest.raises(DeliveryError, match=str(here.gateway_port)):
            start_gateway(here)

    assert not gateway_state(here).running


def test_the_text_names_versions_and_roles() -> None:
    """Champion and fallback are told apart, other versions have their state only."""
    versions = {"1": {"state": "ready"}, "2": {"state": "ready"}, "3": {"state": "starting"}}
    products = {"bike": {"champion": "2", "fallback": "1", "versions": versions}}

    text = render(GatewayState(url="http://127.0.0.1:8900", pid=7, products=products))

    assert text.splitlines() == [
        "the gateway answers at http://127.0.0.1:8900 (process 7)",
        "  bike 1: fallback ready",
        "  bike 2: champion ready",
        "  bike 3: starting",
    ]


def test_several_processes_are_told() -> None:
    """The leader first, which is the one that orders go to."""
    text = render(GatewayState(url="http://127.0.0.1:8900", pid=7, products={}, workers=(7, 8, 9)))

    assert text == "the gateway answers at http://127.0.0.1:8900 (process 7, beside it 8, 9)"
