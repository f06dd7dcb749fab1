"""`python -m utdstream.engine --config FILE`: the engine as a process.

Owns: arguments, logging, signals, the exit code. Exit codes: 0 after SIGTERM or SIGINT, 1 when it
cannot start (port taken, database unusable, packages missing), 2 for a mistake in the settings.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import resource
import signal
import socket
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

from utdstream.engine import packages
from utdstream.errors import InvalidConfig
from utdstream.one_line import OneLineFormatter

if TYPE_CHECKING:
    from utdstream.engine.config import EngineConfig

GRACEFUL_STOP_S = 1
BACKLOG = 2048
"""Connections that wait in the kernel."""
ACCEPTED_AT_ONCE = 64
"""Connections taken from there in one turn of the loop, before any of them can be dropped."""
MAX_CONNECTIONS = 2000
KEPT_DESCRIPTORS = 384
"""Files, the connections to the media server, and connections that are dropped and not closed yet."""
WANTED_DESCRIPTORS = 4096
TICKS_A_SECOND = 10  # of uvicorn's main loop


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the engine until it is told to stop; the process's exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m utdstream.engine",
        description="Run the engine alone, beside a media server and a broker of your own.",
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="the engine's settings, a TOML file")
    options = parser.parse_args(arguments)
    try:
        packages.require()
    except InvalidConfig as error:
        print(f"utdstream engine: {error}", file=sys.stderr)  # noqa: T201  # before there is a log
        return 1
    from utdstream.engine.config import load

    try:
        config = load(options.config)
    except InvalidConfig as error:
        print(f"utdstream engine: {error}", file=sys.stderr)  # noqa: T201  # the only output
        return 2
    return serve(config)


def serve(config: EngineConfig) -> int:
    """Serves with these settings until SIGTERM or SIGINT; the process's exit code. Main thread only."""
    _set_up_logging(config.engine.log_level)
    stopping = False

    def stop_early(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    # Before the heavy imports; uvicorn puts its own in place while it serves, then raises the signal
    # again, and finds these.
    signal.signal(signal.SIGTERM, stop_early)
    signal.signal(signal.SIGINT, stop_early)

    import uvicorn

    from utdstream.engine.api.connections import Connections
    from utdstream.engine.api.protocol import protocol_of
    from utdstream.engine.app import make_stoppable

    connections = Connections(_places())
    app, stop_streams = make_stoppable(config)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            for listener in [one for server in self.servers for one in server.sockets]:
                with listener.dup() as twin:  # asyncio has one number for both: `ACCEPTED_AT_ONCE`
                    twin.listen(BACKLOG)
            # What is made by now stays: a collection that walks through it stops the loop for 0.1 s and more.
            gc.collect()
            gc.freeze()

        async def on_tick(self, counter: int) -> bool:
            if counter % TICKS_A_SECOND == 0:
                connections.sweep(time.monotonic())
            return await super().on_tick(counter)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            stop_streams()
            await super().shutdown(sockets)

    server = Server(
        uvicorn.Config(
            app,
            host=config.engine.host,
            port=config.engine.port,
            http=protocol_of(connections, forwarded_for=config.engine.forwarded_for),
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            proxy_headers=config.engine.forwarded_for,
            forwarded_allow_ips=["127.0.0.1", "::1"],
            backlog=ACCEPTED_AT_ONCE,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=GRACEFUL_STOP_S,
        )
    )
    if stopping:
        return 0
    try:
        server.run()
    except SystemExit:  # uvicorn's word for "the port is taken"
        return 1
    return 0 if server.started else 1


def _places() -> int:
    """Connections there is room for, as far as this process may have descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(WANTED_DESCRIPTORS, hard)
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid it
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return max(16, min(MAX_CONNECTIONS, soft - KEPT_DESCRIPTORS))


def _set_up_logging(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLineFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    # Half of the cost of a line is for what none of ours says.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # Libraries at DEBUG write request headers: they stay at WARNING whatever the engine's level is.
    for name in ("aiohttp", "asyncio", "livekit", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It warns of each request that is no HTTP: anybody could fill the log.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


if __name__ == "__main__":
    sys.exit(main())
