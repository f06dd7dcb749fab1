"""What the engine gets done, against a bare Starlette and SQLite handler on the same machine.

    python -m benchmarks.engine [--pairs 10] [--json]

Limits off, nobody in the media. Engine and handler are processes of their own; the load client is this
process for both: 16 kept connections, each with one request under way. A seat operation is a take or a
leave; a call lifecycle is create, ringing, accept, end. Bars: seat operations at least 0.5 of the handler's
requests a second, lifecycles at least 0.12 of them.

The second bar is out of reach on two cores as long as the engine makes a media room for each call and
deletes it (the rule by which no token brings a finished call back). The ceiling says so: four requests of the
bare handler, and a room made and deleted by the load client itself, with nothing of the engine in between,
were 0.09 to 0.11 when this was written (the engine: 0.04 to 0.05). What each program takes for a lifecycle is
printed too.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from livekit import api

from benchmarks.pairs import RESAMPLES, bootstrap_medians
from utdstream.testing import LocalStack

CONNECTIONS = 16
BLOCK_S = 1.0
TAIL_S = 3.0
"""The room of a call is deleted 2 s after its end: lifecycles are counted once that goes on beside them, and
the handler's turn comes when it is over."""
SEAT_BAR = 0.5
CALL_BAR = 0.12


@dataclass(frozen=True)
class Share:
    """How much of the bare handler's rate the engine reaches; the median of the pair ratios."""

    name: str
    pairs: int
    ours_per_s: float
    bare_per_s: float
    p99_ms: float
    ratio: float
    ratio_lower_95: float
    bar: float | None
    """None: nothing to reach, it is told to compare with."""

    @property
    def holds(self) -> bool:
        return self.bar is None or self.ratio >= self.bar

    def line(self) -> str:
        mark = "    " if self.bar is None else "ok  " if self.holds else "LOW "
        bar = "" if self.bar is None else f"; bar {self.bar:g}"
        return (
            f"{mark} {self.name}: {self.ratio:.3f} of bare (95 %: {self.ratio_lower_95:.3f} or more{bar}),"
            f" {self.ours_per_s:.0f}/s (p99 {self.p99_ms:.1f} ms) against"
            f" {self.bare_per_s:.0f} requests/s, {self.pairs} pairs"
        )


@dataclass(frozen=True)
class Costs:
    """CPU time of each program for one lifecycle, and what the machine could do with a free engine."""

    ms: dict[str, float]
    cores: int
    bar_per_s: float

    @property
    def others_ms(self) -> float:
        return sum(ms for name, ms in self.ms.items() if name != "engine")

    @property
    def left_for_engine_ms(self) -> float:
        """What the engine could take at the bar's rate, were all cores evenly busy."""
        return self.cores * 1000 / self.bar_per_s - self.others_ms

    def line(self) -> str:
        parts = ", ".join(f"{name} {ms:.2f} ms" for name, ms in self.ms.items())
        return (
            f"     CPU for each lifecycle: {parts}; at the bar's {self.bar_per_s:.0f}/s the others leave"
            f" {self.left_for_engine_ms:.2f} ms of {self.cores} cores to the engine"
        )


class Connection:
    """One kept HTTP connection, as little as can be: it writes a request and reads the answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, headers: str) -> None:
        self._reader = reader
        self._writer = writer
        self._headers = headers

    @classmethod
    async def open(cls, base_url: str, headers: Mapping[str, str]) -> Connection:
        url = urlsplit(base_url)
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        lines = {"Host": url.netloc, "Content-Type": "application/json", **headers}
        return cls(reader, writer, "".join(f"{name}: {value}\r\n" for name, value in lines.items()))

    async def post(self, path: str, body: str = "") -> bytes:
        head = f"POST {path} HTTP/1.1\r\n{self._headers}Content-Length: {len(body)}\r\n\r\n"
        self._writer.write((head + body).encode())
        answer = await self._reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        content = await self._reader.readexactly(length)
        status = int(answer[9:12])
        if status not in (200, 201):
            raise RuntimeError(f"{path}: {status} {content.decode()}")
        return content

    def close(self) -> None:
        self._writer.close()


Turn = Callable[[], Awaitable[None]]
"""One unit of work of one connection."""


async def rate(turns: list[Turn], times: list[float], block_s: float = BLOCK_S) -> float:
    """Units a second of all together, in one block; `times` grows by the seconds of each."""
    began = time.perf_counter()
    until = began + block_s

    async def work(turn: Turn) -> int:
        done = 0
        while (now := time.perf_counter()) < until:
            await turn()
            times.append(time.perf_counter() - now)
            done += 1
        return done

    return sum(await asyncio.gather(*map(work, turns))) / (time.perf_counter() - began)


async def bare_turns(base_url: str) -> list[Turn]:
    turns = []
    for number in range(CONNECTIONS):
        connection = await Connection.open(base_url, {})
        body = json.dumps({"room": f"room-{number // 8}", "seat": number % 8, "who": f"person-{number}"})

        async def turn(connection: Connection = connection, body: str = body) -> None:
            await connection.post("/seat", body)

        turns.append(turn)
    return turns


async def seat_turns(stack: LocalStack) -> list[Turn]:
    """Each person has a seat of his own in one of two audio rooms, takes it and leaves it."""
    turns = []
    for number in range(CONNECTIONS):
        room, seat = f"room-{number // 8}", number % 8 + 1
        mint = {"identity": f"person-{number}", "room_name": room, "type": "audio_room"}
        if number % 8 == 0:
            minted = await _mint(stack, {**mint, "identity": "host", "role": "host", "seat_count": 9})
        minted = await _mint(stack, mint)
        connection = await _person(stack, minted["user_token"])
        steps = itertools.cycle(
            (f"/api/v1/rooms/{room}/seats/{seat}/take", f"/api/v1/rooms/{room}/seats/leave")
        )

        async def turn(connection: Connection = connection, steps: Iterator[str] = steps) -> None:
            await connection.post(next(steps))

        turns.append(turn)
    return turns


async def call_turns(stack: LocalStack) -> list[Turn]:
    """Each pair of people calls, rings, answers and hangs up."""
    turns = []
    for number in range(CONNECTIONS):
        bearers = []
        for who in ("caller", "callee"):
            connection = await Connection.open(stack.base_url, _key(stack))
            body = json.dumps({"identity": f"{who}-{number}"})
            bearers.append(json.loads(await connection.post("/api/v1/auth/session", body))["user_token"])
            connection.close()
        caller, callee = [await _person(stack, bearer) for bearer in bearers]
        create = json.dumps({"callee_identity": f"callee-{number}", "type": "video_call"})

        async def turn(
            caller: Connection = caller, callee: Connection = callee, create: str = create
        ) -> None:
            path = f"/api/v1/calls/{json.loads(await caller.post('/api/v1/calls', create))['call_id']}"
            await callee.post(f"{path}/ringing")
            await callee.post(f"{path}/accept")
            await caller.post(f"{path}/end")

        turns.append(turn)
    return turns


async def ceiling_turns(stack: LocalStack, bare_url: str) -> list[Turn]:
    """The least a lifecycle can be: four requests of the bare handler, and a media room made and deleted.

    The load client asks livekit-server itself. No credentials, rules, tokens or messages.
    """
    token = (
        api.AccessToken(stack.livekit_api_key, stack.livekit_api_secret)
        .with_grants(api.VideoGrants(room_create=True))
        .to_jwt()
    )
    turns = []
    for number in range(CONNECTIONS):
        handler = await Connection.open(bare_url, {})
        headers = {"Authorization": f"Bearer {token}"}
        media = await Connection.open(stack.livekit_url.replace("ws", "http", 1), headers)
        body = json.dumps({"room": f"room-{number // 8}", "seat": number % 8, "who": f"person-{number}"})
        rooms = map(f"ceiling-{number}-{{}}".format, itertools.count())

        async def turn(
            handler: Connection = handler,
            media: Connection = media,
            body: str = body,
            rooms: Iterator[str] = rooms,
        ) -> None:
            room = next(rooms)
            await handler.post("/seat", body)
            await media.post("/twirp/livekit.RoomService/CreateRoom", json.dumps({"name": room}))
            for _ in range(3):
                await handler.post("/seat", body)
            await media.post("/twirp/livekit.RoomService/DeleteRoom", json.dumps({"room": room}))

        turns.append(turn)
    return turns


def _key(stack: LocalStack) -> dict[str, str]:
    return {"X-App-Id": stack.app_id, "X-App-Key": stack.app_key}


async def _mint(stack: LocalStack, body: Mapping[str, object]) -> dict[str, str]:
    connection = await Connection.open(stack.base_url, _key(stack))
    minted: dict[str, str] = json.loads(await connection.post("/api/v1/token", json.dumps(body)))
    connection.close()
    return minted


async def _person(stack: LocalStack, bearer: str) -> Connection:
    headers = {"X-App-Id": stack.app_id, "Authorization": f"Bearer {bearer}"}
    return await Connection.open(stack.base_url, headers)


async def share(
    name: str, ours: list[Turn], bare: list[Turn], *, pairs: int, bar: float | None, tail_s: float = 0.0
) -> Share:
    """Both arms in the order A B B A, `pairs` times. Ours are counted after `tail_s` of the same load, and
    have so long to come to rest before the others' turn.
    """
    mine: list[float] = []
    theirs: list[float] = []
    times: list[float] = []
    await rate(bare, []), await rate(ours, [])
    await asyncio.sleep(tail_s)
    for _ in range(pairs):
        first_bare = await rate(bare, [])
        if tail_s:
            await rate(ours, [], tail_s)
        first = await rate(ours, times)
        second = await rate(ours, times)
        await asyncio.sleep(tail_s)
        second_bare = await rate(bare, [])
        mine.append((first + second) / 2)
        theirs.append((first_bare + second_bare) / 2)
    ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
    medians = bootstrap_medians(ratios)
    return Share(
        name=name,
        pairs=pairs,
        ours_per_s=statistics.median(mine),
        bare_per_s=statistics.median(theirs),
        p99_ms=sorted(times)[int(len(times) * 0.99)] * 1000,
        ratio=statistics.median(ratios),
        ratio_lower_95=medians[int(RESAMPLES * 0.025)],
        bar=bar,
    )


@contextmanager
def bare_handler() -> Iterator[str]:
    """The handler in a process of its own; its address."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        command = [sys.executable, "-m", "benchmarks.bare_handler", str(port), str(Path(folder) / "bare.db")]
        process = subprocess.Popen(command)
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


def _wait_for(port: int) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


async def costs(stack: LocalStack, bar_per_s: float) -> Costs:
    """What one lifecycle costs each program."""
    turns = await call_turns(stack)
    await rate(turns, [], TAIL_S)
    pids = {
        "engine": stack.pid("engine"),
        "livekit-server": stack.pid("livekit"),
        "mosquitto": stack.pid("mqtt"),
    }

    def cpu_s() -> dict[str, float]:
        return {name: _cpu_s(pid) for name, pid in pids.items()} | {"load client": time.process_time()}

    before, times = cpu_s(), list[float]()
    for _ in range(5):
        await rate(turns, times)
    return Costs(
        {name: (now - before[name]) / len(times) * 1000 for name, now in cpu_s().items()},
        len(os.sched_getaffinity(0)),
        bar_per_s,
    )


def _cpu_s(pid: int | None) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(stack: LocalStack, bare_url: str, pairs: int) -> tuple[list[Share], Costs]:
    bare = await bare_turns(bare_url)
    seats = await share("seat operations", await seat_turns(stack), bare, pairs=pairs, bar=SEAT_BAR)
    lifecycles = await share(
        "call lifecycles (of 4 requests)",
        await call_turns(stack),
        bare,
        pairs=pairs,
        bar=CALL_BAR,
        tail_s=TAIL_S,
    )
    cpu = await costs(stack, CALL_BAR * lifecycles.bare_per_s)
    ceiling = await share(
        "ceiling of lifecycles (4 bare requests, a media room made and deleted)",
        await ceiling_turns(stack, bare_url),
        bare,
        pairs=pairs,
        bar=None,
    )
    return [seats, lifecycles, ceiling], cpu


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with LocalStack(log_level="info") as stack, bare_handler() as bare_url:
        shares, cpu = asyncio.run(measure(stack, bare_url, options.pairs))
    if options.json:
        rows = [asdict(found) | {"holds": found.holds} for found in shares]
        print(json.dumps({"shares": rows, "cpu": asdict(cpu)}, indent=2))
    else:
        for found in shares:
            print(found.line())
        print(cpu.line())
    return 0 if all(found.holds for found in shares) else 1


if __name__ == "__main__":
    sys.exit(main())
