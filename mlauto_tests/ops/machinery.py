"""A PostgreSQL server from Debian's package, and the services of `ops/compose.yaml` on a network of their own."""

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mlauto.commands.loop import free_port
from mlauto_tests.conftest import postgres_programs
from mlauto_tests.ops.compose_file import arguments, interpolated, loaded

__all__ = ["Postgres", "Stack", "docker", "network", "postgres", "until"]

Found = TypeVar("Found")
LABEL = f"mlauto.test={os.getpid()}"


def docker(*words: str) -> str:
    """What the command prints; its complaint is the test's failure."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"docker {' '.join(words[:3])} ...: {done.stderr}"
    return done.stdout.strip()


def until(what: str, condition: Callable[[], Found | None], *, seconds: float, told: Callable[[], str]) -> Found:
    """The condition's value as soon as there is one; else the failure names it and ends with what `told` says."""
    deadline = time.monotonic() + seconds
    while (found := condition()) is None:
        assert time.monotonic() < deadline, f"not seen within {seconds:.0f} s: {what}\n{told()}"
        time.sleep(0.1)
    return found


@contextmanager
def network() -> Iterator[tuple[str, str]]:
    """A bridge with its own addresses: its name, and this machine's address on it. What is on it then is killed."""
    name = f"mlauto-test-{os.getpid()}-{secrets.token_hex(3)}"
    docker("network", "create", "--label", LABEL, name)
    try:
        yield name, docker("network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", name)
    finally:
        left = docker("ps", "--all", "--quiet", "--filter", f"network={name}").split()
        subprocess.run(["docker", "rm", "--force", "--volumes", *left], capture_output=True, check=False)
        docker("network", "rm", name)


@dataclass(frozen=True)
class Postgres:
    """A server with user `mlauto` and databases `dagster` and `mlflow`, which listens at one address."""

    host: str
    port: int
    password: str = field(repr=False)

    def ask(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query to Dagster's database."""
        with self._connected("dagster") as cursor:
            cursor.execute(query, values)
            return cursor.fetchall()

    def create(self, *databases: str) -> None:
        """New databases."""
        with self._connected("postgres") as cursor:
            for name in databases:
                cursor.execute(f"CREATE DATABASE {name}")

    @contextmanager
    def _connected(self, database: str) -> Iterator[Any]:
        import psycopg2

        whole = {"host": self.host, "port": self.port, "user": "mlauto", "password": self.password}
        connection = psycopg2.connect(dbname=database, **whole)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()


@contextmanager
def postgres(host: str) -> Iterator[Postgres]:
    """A new cluster below /tmp, by another user where this one is root: the server refuses to run as root."""
    programs = postgres_programs()
    assert programs is not None
    who = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="mlauto-pg-"))
    server = Postgres(host, free_port(), secrets.token_hex(16))

    def run(program: str, *words: str) -> None:
        command = [str(programs / program), *words]
        with (folder / "commands.log").open("a") as log:
            done = subprocess.run(command, stdout=log, stderr=log, cwd=folder, timeout=60, check=False, **who)  # type: ignore[call-overload]
        assert done.returncode == 0, (folder / "commands.log").read_text()

    try:
        (folder / "password").write_text(server.password)
        if who:
            for path in (folder, folder / "password"):
                shutil.chown(path, "postgres", "postgres")
        data = str(folder / "data")
        run("initdb", "--pgdata", data, "--username=mlauto", f"--pwfile={folder}/password", "--auth=scram-sha-256")
        with (folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write("host all mlauto samenet scram-sha-256\n")
        options = f"-c listen_addresses={host} -c port={server.port} -c unix_socket_directories={folder} -c fsync=off"
        run("pg_ctl", "--pgdata", data, "--log", f"{folder}/server.log", "--options", options, "--wait", "start")
        try:
            server.create("dagster", "mlflow")
            yield server
        finally:
            run("pg_ctl", "--pgdata", data, "--mode", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


class Stack:
    """Services of the compose file, each as that file says, on one network. `environment` is what `.env` would set."""

    def __init__(self, network_name: str, environment: Mapping[str, str]) -> None:
        self.network = network_name
        self.environment = {**environment, "MLAUTO_NETWORK": network_name}
        self.started: dict[str, str] = {}

    def service(self, name: str) -> dict[str, Any]:
        """What the file says of it, with the variables' values."""
        found: dict[str, Any] = interpolated(loaded()["services"][name], self.environment)
        return found

    def start(self, name: str) -> None:
        """Run it, under its name on the network."""
        here = ["--detach", "--label", LABEL, "--network", self.network, "--network-alias", name]
        self.started[name] = docker("run", *here, *arguments(self.service(name)))

    def healthy(self, *names: str, seconds: float) -> None:
        """Wait until their own health checks say so; one that ended is a failure at once."""
        for name in names:
            check = self.service(name)["healthcheck"]["test"][1:]
            until(
                f"{name} healthy", lambda one=name, test=check: self._passes(one, test), seconds=seconds, told=self.logs
            )

    def _passes(self, name: str, check: Sequence[str]) -> bool | None:
        container = self.started[name]
        running = docker("inspect", "--format", "{{.State.Running}}", container)
        assert running == "true", f"{name} ended\n{self.logs()}"
        done = subprocess.run(["docker", "exec", container, *check], capture_output=True, timeout=60, check=False)
        return True if done.returncode == 0 else None

    def logs(self) -> str:
        """The last words of every service."""
        said = []
        for name, container in self.started.items():
            tail = subprocess.run(
                ["docker", "logs", "--tail", "15", container],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
            said.append(f"--- {name}\n{tail.stdout.decode(errors='replace')}")
        return "\n".join(said)

    def workers(self) -> dict[str, str]:
        """The run workers' containers that run now: run id -> container id."""
        listed = docker(
            *("ps", "--filter", f"network={self.network}", "--filter", "label=dagster/run_id", "--no-trunc"),
            *("--format", '{{.Label "dagster/run_id"}} {{.ID}}'),
        )
        return dict(line.split() for line in listed.splitlines())
