"""Steady load on a server, as its users make it: many connections, some of them new, no retries."""

import asyncio
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Result:
    """What happened: requests, failures by reason, answers by version, and seconds."""

    requests: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    ids: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    longest_gap: float = 0.0
    closed: int = 0  # connections that the server gave up
    seconds: float = 0.0

    @property
    def failed(self) -> int:
        """Requests without the right answer."""
        return sum(self.problems.values())

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds if self.seconds else 0.0

    def p99(self) -> float:
        """Milliseconds."""
        ranked = sorted(self.latencies)
        return ranked[int(0.99 * (len(ranked) - 1))] * 1000 if ranked else 0.0


class Load:
    """`rate` requests a second over `connections` connections, of which `fresh` are made anew for each request.

    Runs in a thread of its own from `with` to its end; every reply must be 200 with the predictions `wanted`.
    """

    def __init__(
        self, port: int, path: str, body: bytes, wanted: object, *, rate: float, connections: int = 16, fresh: int = 2
    ) -> None:
        head = (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        )
        self._port = port
        self._message = head.encode() + b"\r\n\r\n" + body
        self._wanted = wanted
        self._pause = connections / rate
        self._kinds = [place < fresh for place in range(connections)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._last = 0.0
        self.result = Result()

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        began = self._last = time.perf_counter()
        await asyncio.gather(*(self._client(place, fresh) for place, fresh in enumerate(self._kinds)))
        self.result.seconds = time.perf_counter() - began

    async def _client(self, place: int, fresh: bool) -> None:
        due = time.perf_counter() + self._pause * place / len(self._kinds)
        streams = None
        while not self._stop.is_set():
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            due = max(due + self._pause, time.perf_counter() - 0.1)
            began = time.perf_counter()
            self.result.requests += 1
            try:
                if streams is None:
                    streams = await asyncio.open_connection("127.0.0.1", self._port)
                closes = await asyncio.wait_for(self._ask(*streams), 30)
            except (OSError, EOFError, TimeoutError, ValueError) as error:
                self.result.problems[f"{type(error).__name__}: {error}"[:200]] += 1
                closes = True
            self.result.closed += closes
            now = time.perf_counter()
            self.result.latencies.append(now - began)
            if streams is not None and (fresh or closes):
                streams[1].close()
                streams = None
        if streams is not None:
            streams[1].close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One exchange; whether the server closes the connection."""
        writer.write(self._message)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        headers = dict(line.partition(": ")[::2] for line in head.split("\r\n")[1:])
        content = await reader.readexactly(int(headers["content-length"]))
        status = head[9:12]
        if status != "200":
            self.result.problems[f"{status}: {content[:150]!r}"] += 1
        elif json.loads(content)["predictions"] != self._wanted:
            self.result.problems[f"another answer: {content[:150]!r}"] += 1
        else:
            now = time.perf_counter()
            self.result.longest_gap = max(self.result.longest_gap, now - self._last)
            self._last = now
            self.result.versions[headers.get("x-mlauto-version", "")] += 1
            self.result.ids.append(headers.get("x-prediction-id", ""))
        return headers.get("connection") == "close"
