"""One change of production at a time, across processes."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from mlauto.delivery.exclusive import BusyError, exclusive
from mlauto.errors import DeliveryError
from mlauto.store import Store

HOLDER = """
import sys, pathlib
from mlauto.delivery.exclusive import exclusive
from mlauto.store import Store
with exclusive("p", Store(pathlib.Path(sys.argv[1])), wait=5):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(store: Store) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the product's production until it is told to go on."""
    command = [sys.executable, "-c", HOLDER, str(store.home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_another_process_is_kept_out(holder: subprocess.Popen[str], store: Store) -> None:
    """At once, or after the time that one is willing to wait; other products are free."""
    for wait in (0, 0.15):
        with pytest.raises(BusyError, match="p: production is being changed"), exclusive("p", store, wait=wait):
            pytest.fail("entered while another process held it")
    with exclusive("q", store, wait=0):
        assert holder.poll() is None


def test_waiting_ends_with_the_other_s_change(holder: subprocess.Popen[str], store: Store) -> None:
    """Whoever waits goes on as soon as the other is done."""
    assert holder.stdin is not None
    holder.stdin.write("\n")
    holder.stdin.flush()

    with exclusive("p", store, wait=20):
        assert holder.wait(timeout=20) == 0


def test_the_lock_dies_with_its_holder(holder: subprocess.Popen[str], store: Store) -> None:
    """A killed process leaves nothing to clean up."""
    holder.kill()
    holder.wait()

    with exclusive("p", store, wait=0):
        pass
    with exclusive("p", store, wait=0):
        assert issubclass(BusyError, DeliveryError)


def test_an_error_within_gives_it_back(store: Store) -> None:
    """The next one may enter."""
    with pytest.raises(ValueError, match="within"), exclusive("p", store, wait=0):
        raise ValueError("within")
    with exclusive("p", store, wait=0):
        assert (store.home / "products" / "p" / "production.lock").exists()
