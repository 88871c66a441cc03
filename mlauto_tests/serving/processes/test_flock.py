"""Several processes behind one port: users, Prometheus and whoever gives orders see one gateway."""

import asyncio
import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlauto.runtime.gateway_client import GatewayClient
from mlauto.serving.processes.flock import moves
from mlauto.serving.traffic import MOST_IN_FLIGHT
from mlauto_tests.serving.clients import Answer, Clients, ask, clients, request
from mlauto_tests.serving.conftest import Gateway, eventually, gateway, prediction_lines
from mlauto_tests.serving.test_gateway import alive

WORKERS = 3


@pytest.fixture(scope="module")
def running(bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Three processes, version 1 of bikes live and version 2 behind it; tests leave it so until they stop version 2."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLAUTO_GATEWAY_WORKERS", str(WORKERS))
        with gateway(tmp_path_factory.mktemp("flock") / "home") as found:
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda name: found.start(bundles, name), ("bikes-1", "bikes-2")))
            found.switch("bikes", "1", "2")
            complete(found)
            yield found


def port(found: Gateway) -> int:
    return int(found.served.url.rsplit(":", 1)[1])


def status(found: Gateway) -> Any:
    """What its leader says; None while nobody does."""
    return GatewayClient(found.home / "gateway").answered()


def complete(found: Gateway, number: int = WORKERS) -> list[int]:
    """The processes, as soon as there are so many and their leader says that they all answer."""

    def look() -> list[int] | None:
        pids: list[int] = (status(found) or {"workers": []})["workers"]
        return pids if len(pids) == number else None

    pids: list[int] = eventually(look, f"{number} processes")
    return pids


def counted(found: Gateway) -> dict[str, float]:
    """The counters as Prometheus sees them, over a connection of their own."""
    text = httpx.get(f"{found.served.url}/metrics", timeout=30).text
    return {name: float(value) for name, value in re.findall(r"^(mlauto_\S+) (\S+)$", text, re.M)}


def ids_of(found: Gateway) -> set[str]:
    return {line["id"] for line in prediction_lines(found.home, "bikes")}


def answering(users: Clients) -> int:
    """How many processes gave the newest answers."""
    return len({answer.process for answer in users.answers[-60:] if answer.status == 200})


async def _together(found: Gateway, count: int, each: int, message: bytes = request()) -> list[Answer]:
    async def one() -> list[Answer]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port(found))
        answers = [await ask(reader, writer, message) for _ in range(each)]
        writer.close()
        return answers

    return [answer for answers in await asyncio.gather(*(one() for _ in range(count))) for answer in answers]


def spread(found: Gateway) -> list[Answer]:
    """Answers of all processes, over more and more connections."""
    answers: list[Answer] = []

    def all_seen() -> bool:
        answers.extend(asyncio.run(_together(found, 12, 5)))
        return len({answer.process for answer in answers}) == WORKERS

    eventually(all_seen, "answers of all processes")
    return answers


@contextmanager
def suspended(found: Gateway, version: str, message: bytes, pool: ThreadPoolExecutor) -> Iterator[Future[list[Answer]]]:
    """Requests that are in flight at all processes within the block: their model goes on at its end."""
    model = found.version("bikes", version)["pid"]
    os.kill(model, signal.SIGSTOP)
    try:
        asking = pool.submit(lambda: asyncio.run(_together(found, 18, 1, message)))
        eventually(lambda: found.version("bikes", version)["in_flight"] == 18, "requests in flight")
        yield asking
    finally:
        os.kill(model, signal.SIGCONT)


def test_all_processes_answer_and_are_counted_as_one(running: Gateway) -> None:
    """What each of them counts is in everybody's `/metrics`, exactly; labels for anybody's ids are taken by anybody."""
    before = counted(running)
    answers = spread(running)
    assert {answer.status for answer in answers} == {200}
    assert {answer.id for answer in answers} <= ids_of(running)
    firsts = {answer.process: answer.id for answer in answers}
    labels = [(one, again) for again in range(6) for one in firsts.values()]
    for one, again in labels:
        reply = httpx.post(f"{running.served.url}/v2/models/bikes/feedback", json={"id": one, "label": again})
        assert reply.status_code == 200, reply.text
    assert httpx.post(f"{running.served.url}/v2/models/no/infer", json={}).status_code == 404

    said = [counted(running) for _ in range(8)]
    assert all(each == said[0] for each in said)
    grown = {name: value - before.get(name, 0) for name, value in said[0].items()}
    one = 'product="bikes",version="1"'
    assert grown[f'mlauto_requests_total{{{one},code="200"}}'] == len(answers)
    assert grown[f"mlauto_predicted_rows_total{{{one}}}"] == len(answers)
    assert grown[f"mlauto_request_seconds_count{{{one}}}"] == len(answers)
    assert grown['mlauto_labels_total{product="bikes"}'] == len(labels)
    assert grown['mlauto_requests_total{product="",version="",code="404"}'] == 1
    assert said[0]["mlauto_gateway_workers"] == WORKERS
    assert said[0]["mlauto_gateway_pid"] == status(running)["pid"] == complete(running)[0]
    logged = [line["id"] for line in prediction_lines(running.home, "bikes", "labels")]
    assert sorted(logged) == sorted(one for one, _ in labels)


def test_what_waits_at_any_process_is_in_flight(running: Gateway) -> None:
    """Of a limit that grows with the processes; nothing is left when all are answered."""
    limit = "mlauto_requests_in_flight_limit"
    with ThreadPoolExecutor(1) as pool, suspended(running, "1", request(), pool) as asking:
        waiting = counted(running)
    assert {answer.status for answer in asking.result()} == {200}

    assert waiting['mlauto_requests_in_flight{product="bikes"}'] == 18
    assert waiting[limit] == WORKERS * MOST_IN_FLIGHT
    assert counted(running)['mlauto_requests_in_flight{product="bikes"}'] == 0


@pytest.mark.parametrize(
    ("numbers", "after"),
    [
        ((12, 0, 0), (4, 4, 4)),
        ((6, 6, 0), (4, 4, 4)),
        ((6, 5, 1), (4, 4, 4)),
        ((3, 0, 0), (1, 1, 1)),
        ((2, 1, 0), (1, 1, 1)),
        ((1, 0), (1, 0)),
        ((0, 0), (0, 0)),
        ((37, 33, 29), (37, 33, 29)),
        ((41, 33, 29), (35, 34, 34)),
        ((300, 0), (236, 64)),
    ],
)
def test_connections_move_until_all_have_as_many(numbers: tuple[int, ...], after: tuple[int, ...]) -> None:
    """And stay where they are while the difference is small; not too many move at a time."""
    left = list(numbers)
    for giver, takers in moves(dict(enumerate(numbers))).items():
        for taker in takers:
            left[giver] -= 1
            left[taker] += 1
    assert tuple(left) == after


def test_kept_connections_are_shared_out(running: Gateway) -> None:
    """Who accepts first may get all of them: some of them go on elsewhere, and none is closed."""
    others = complete(running)[1:]
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    try:
        with clients(port(running)) as users:
            users.more()
            assert len({answer.process for answer in users.answers}) == 1
            for pid in others:
                os.kill(pid, signal.SIGCONT)
            eventually(lambda: answering(users) == WORKERS, "answers of each")
    finally:
        for pid in others:
            os.kill(pid, signal.SIGCONT)
    assert users.failures == []
    assert users.resets == 0


def test_after_a_switch_nobody_answers_by_the_route_before(running: Gateway) -> None:
    """Under load, again and again: requests that began after it returned are the new champion's."""
    with clients(port(running)) as users:
        eventually(lambda: answering(users) == WORKERS, "answers of each")
        for champion, fallback in [("2", "1"), ("1", "2")] * 3:
            running.switch("bikes", champion, fallback)
            switched, number = time.monotonic(), len(users.answers)
            users.more()
            late = {answer.version for answer in users.answers[number:] if answer.began > switched}
            assert late == {champion}
    assert users.failures == []
    assert users.resets == 0


def test_a_follower_that_does_not_follow_is_replaced(running: Gateway) -> None:
    """A stopped process would answer by the route before when it goes on: the switch returns when it is gone."""
    leader, stuck, _ = complete(running)
    os.kill(stuck, signal.SIGSTOP)
    began = time.monotonic()
    running.switch("bikes", "2", "1")
    assert time.monotonic() - began < 10
    eventually(lambda: not alive(stuck), "its end")
    pids = complete(running)
    assert pids[0] == leader
    assert stuck not in pids
    assert {answer.version for answer in spread(running)} == {"2"}
    running.switch("bikes", "1", "2")


def test_a_killed_follower_is_replaced_and_its_counts_stay(running: Gateway) -> None:
    """Only connections that it had are reset; who asks again is answered, and no counter goes backwards."""
    with clients(port(running)) as users:
        eventually(lambda: answering(users) == WORKERS, "answers of each")
        leader, victim, other = complete(running)
        before = counted(running)
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        pids = eventually(lambda: set(complete(running)) - {leader, other, victim}, "another process")
        assert time.monotonic() - killed < 5
        after = counted(running)
        users.more()
    assert victim not in pids
    assert users.failures == []
    assert 0 < users.resets < 12
    gauges = ("mlauto_version", "mlauto_gateway", "mlauto_requests_in_flight")
    assert not [name for name in before if not name.startswith(gauges) and after[name] < before[name]]
    assert {answer.id for answer in users.answers} <= ids_of(running)


def test_a_killed_model_is_covered_at_all_processes(running: Gateway) -> None:
    """Each asks the fallback until the champion is back; no request fails."""
    with clients(port(running)) as users:
        users.more()
        os.kill(running.version("bikes", "1")["pid"], signal.SIGKILL)
        eventually(lambda: running.version("bikes", "1")["state"] == "ready", "the champion again")
        number = len(users.answers)
        eventually(lambda: {answer.version for answer in users.answers[number:]} >= {"1"}, "its answers")
    assert users.failures == []
    assert users.resets == 0


def test_a_version_is_stopped_after_its_requests_everywhere(running: Gateway) -> None:
    """Whoever has one in flight finishes it; afterwards it and its series are gone at all processes."""
    exact = request(path="/v2/models/bikes/versions/2/invocations")
    with ThreadPoolExecutor(2) as pool, suspended(running, "2", exact, pool) as asking:
        stopping = pool.submit(running.order, "/stop", product="bikes", version="2")
        eventually(lambda: "2" not in status(running)["products"]["bikes"]["versions"], "the order")
        assert not stopping.done()
    assert stopping.result().status_code == 200
    assert {(answer.status, answer.version) for answer in asking.result()} == {(200, "2")}
    assert not any('version="2"' in name for name in counted(running))
    assert {answer.status for answer in asyncio.run(_together(running, 12, 1, exact))} == {404}


def test_a_killed_leader_takes_its_followers_along(running: Gateway) -> None:
    """They end, all are begun anew, and what was answered is in the log; who was connected connects again."""
    with clients(port(running)) as users:
        users.more()
        before = complete(running)
        os.kill(before[0], signal.SIGKILL)
        eventually(lambda: not any(map(alive, before)), "their end")
        eventually(lambda: set(before).isdisjoint(complete(running)), "other processes")
        eventually(lambda: users.answers and users.answers[-1].began > time.monotonic() - 0.5, "answers again")
        eventually(lambda: answering(users) == WORKERS, "answers of each")
    assert users.resets >= 12
    assert {answer.status for answer in users.failures} <= {503}  # while the models start
    served = [answer for answer in users.answers if answer.status == 200]
    assert {answer.id for answer in served} <= ids_of(running)


def test_a_restart_loses_no_request_and_may_change_their_number(running: Gateway) -> None:
    """Kept connections go on in the new processes, evenly; nobody is closed, and nobody answers in between."""
    eventually(
        lambda: {entry["state"] for entry in status(running)["products"]["bikes"]["versions"].values()} == {"ready"},
        "models",
    )
    with clients(port(running)) as users:
        users.more()
        for number, fewer in ((1, 3), (3, 1)):
            before = complete(running, fewer)
            reply = running.order("/restart", environment={"MLAUTO_GATEWAY_WORKERS": str(number)})
            assert reply.status_code == 200, reply.text
            eventually(lambda before=before: not any(map(alive, before)), "the end of the old processes")
            after = complete(running, number)
            assert after[0] == reply.json()["pid"]
            eventually(lambda: running.order("/stop", product="no", version="1").status_code == 200, "open orders")
            eventually(lambda number=number: answering(users) == number, "answers of each")
    assert users.failures == []
    assert users.resets == 0
    assert {answer.id for answer in users.answers} <= ids_of(running)


def test_without_the_fork_server_the_gateway_restarts_itself(running: Gateway) -> None:
    """There could be no more followers; only connections of those that it took along are reset."""
    before = complete(running)
    with clients(port(running)) as users:
        users.more()
        server = int(Path(f"/proc/{before[1]}/stat").read_text().rpartition(")")[2].split()[1])
        assert server not in before
        os.kill(server, signal.SIGKILL)
        eventually(lambda: not any(map(alive, before)), "the end of the old processes")
        assert set(before).isdisjoint(complete(running))
        users.more()
    assert users.failures == []
    assert users.resets <= 12
    assert {answer.id for answer in users.answers} <= ids_of(running)


def test_sigterm_answers_what_is_in_flight_everywhere(running: Gateway) -> None:
    """Then all processes end, with code 0."""
    pids = complete(running)
    with ThreadPoolExecutor(1) as pool, suspended(running, "1", request(), pool) as asking:
        running.served.process.terminate()
        time.sleep(0.2)
        assert running.served.process.poll() is None
    assert {answer.status for answer in asking.result()} == {200}
    assert running.served.process.wait(timeout=30) == 0
    eventually(lambda: not any(map(alive, pids)), "the end of them all")
