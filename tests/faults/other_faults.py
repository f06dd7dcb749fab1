"""Name, time and route (6), devices (9), the host (4)."""

from __future__ import annotations

import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from dying import dies
from kinds import Fault, except_in, only_in
from scene import Ear, Scene, Side

from utdstream import DeviceError, Devices, PcmFrame, RawFrame, UTDStreamType
from utdstream.media import EncodedFrame
from utdstream.synthetic import PatternCamera, ToneMicrophone

YEARS_50 = 50 * 365.25 * 86_400
HOUR = 3600.0
STUCK_S = 3.0
"""How long a device that is stuck takes to stop; the end of the fault does not free it."""


@contextmanager
def resolver(answer: Callable[[str], str]) -> Iterator[None]:
    """What this process learns of the engine's name."""
    real = socket.getaddrinfo

    def asked(host: object, *arguments: object, **named: object) -> object:
        return real(answer(host) if isinstance(host, str) else host, *arguments, **named)  # type: ignore[arg-type]

    socket.getaddrinfo = asked  # type: ignore[assignment]
    try:
        yield
    finally:
        socket.getaddrinfo = real


@contextmanager
def no_name(scene: Scene, _victim: Side) -> Iterator[None]:
    """The engine's name is unknown; connections of before go on, so they are broken."""

    def refuse(host: str) -> str:
        if host == scene.engine_host:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return host

    with resolver(refuse):
        scene.faults.reset("engine")
        yield


@contextmanager
def other_name(scene: Scene, _victim: Side) -> Iterator[None]:
    """The engine's name leads to an address where nobody listens."""
    with resolver(lambda host: "127.9.9.9" if host == scene.engine_host else host):
        scene.faults.reset("engine")
        yield


def clock(offset_s: float) -> Callable[[Scene, Side], ExitStack]:
    """This machine's clock is wrong, as Python reads it."""

    @contextmanager
    def wrong() -> Iterator[None]:
        real = time.time
        time.time = lambda: real() + offset_s
        try:
            yield
        finally:
            time.time = real

    def strike(_scene: Scene, _victim: Side) -> ExitStack:
        parts = ExitStack()
        parts.enter_context(wrong())
        return parts

    return strike


@contextmanager
def no_route(scene: Scene, victim: Side) -> Iterator[None]:
    """Whatever is tried fails at once, and connections of before hang."""
    with scene.faults.half_open(only=victim.identity), scene.faults.refuse(only=victim.identity):
        yield


# -- devices ---------------------------------------------------------------------------------------


class Breakable:
    """How a device is broken now: "", "absent", "busy", "silent", "stuck" (in `stop`), "burst"."""

    how = ""

    def check(self, what: str) -> None:
        if self.how in ("absent", "busy"):
            raise DeviceError(f"{what} is {self.how}")

    def stop_or_hang(self) -> None:
        if self.how == "stuck":
            time.sleep(STUCK_S)


class Camera(PatternCamera, Breakable):
    """A small picture, until it is broken."""

    def __init__(self) -> None:
        super().__init__(160, 120, 10)

    def start(self, sink: Callable[[RawFrame | EncodedFrame], None]) -> None:
        self.check("the camera")
        super().start(lambda frame: None if self.how == "silent" else sink(frame))

    def stop(self) -> None:
        self.stop_or_hang()
        super().stop()


class Microphone(ToneMicrophone, Breakable):
    """A tone, until it is broken."""

    def __init__(self) -> None:
        super().__init__(700)

    def start(self, sink: Callable[[PcmFrame], None]) -> None:
        self.check("the microphone")

        def take(frame: PcmFrame) -> None:
            for _ in range({"silent": 0, "burst": 5}.get(self.how, 1)):
                sink(frame)

        super().start(take)

    def stop(self) -> None:
        self.stop_or_hang()
        super().stop()


class Speaker(Ear, Breakable):
    """An ear, until it is broken."""

    def start(self, source: Callable[[int], bytes]) -> None:
        self.check("the speaker")
        super().start(source)


def with_camera(ear: Ear) -> Devices:
    return Devices(ToneMicrophone(700), ear, Camera())


def with_microphone(ear: Ear) -> Devices:
    return Devices(Microphone(), ear)


def with_speaker(_ear: Ear) -> Devices:
    return Devices(ToneMicrophone(700), Speaker())


def device(which: str, how: str) -> Callable[[Scene, Side], ExitStack]:
    """One device of the victim is broken in this way, for as long as the fault."""

    def strike(_scene: Scene, victim: Side) -> ExitStack:
        found = getattr(victim.client._devices, which)
        assert isinstance(found, Breakable)
        found.how = how

        def mend() -> None:
            if how != "stuck":
                found.how = ""

        parts = ExitStack()
        parts.callback(mend)
        return parts

    return strike


# -- the host --------------------------------------------------------------------------------------


@contextmanager
def full_disk(scene: Scene, _victim: Side) -> Iterator[None]:
    """The engine cannot write a byte more into any file."""
    pid = scene.faults.stack.pid("engine")
    assert pid is not None
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@contextmanager
def busy_machine(_scene: Scene, _victim: Side) -> Iterator[None]:
    """Two other processes take all the processor that they get."""
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


NO_DEVICE = except_in("idle", "ringing in", why="no device is open then")
OPENS = only_in("connecting", why="the devices are open already, or not needed")
NO_CALL = except_in("idle", why="a jump needs a call")
VIDEO = UTDStreamType.VIDEO_CALL
FAULTS = (
    Fault("the engine's name is not found", no_name),
    Fault("the engine's name leads elsewhere", other_name),
    Fault("the clock is 50 years back", clock(-YEARS_50)),
    Fault("the clock is an hour ahead", clock(HOUR)),
    Fault("the clock jumps during a call", clock(-600.0), not_in=NO_CALL, lasts_s=(0.3, 0.6)),
    Fault("the default route is gone", no_route),
    # devices
    Fault("camera absent", device("camera", "absent"), not_in=OPENS, kind=VIDEO, devices=with_camera),
    Fault("camera unplugged", device("camera", "silent"), not_in=NO_DEVICE, kind=VIDEO, devices=with_camera),
    Fault("camera frozen", device("camera", "silent"), not_in=NO_DEVICE, kind=VIDEO, devices=with_camera),
    Fault(
        "camera blocks in stop", device("camera", "stuck"), not_in=NO_DEVICE, kind=VIDEO, devices=with_camera
    ),
    Fault("microphone unplugged", device("microphone", "silent"), not_in=NO_DEVICE, devices=with_microphone),
    Fault("a storm of overruns", device("microphone", "burst"), not_in=NO_DEVICE, devices=with_microphone),
    Fault("microphone blocks", device("microphone", "stuck"), not_in=NO_DEVICE, devices=with_microphone),
    Fault("speaker gone", device("speaker", "absent"), not_in=OPENS, devices=with_speaker),
    Fault("a device is busy", device("microphone", "busy"), not_in=OPENS, devices=with_microphone),
    # the host
    Fault("the engine's disk is full", full_disk),
    Fault("kill -9 of the device", course=dies(signal.SIGKILL)),
    Fault("SIGTERM of the device", course=dies(signal.SIGTERM)),
    Fault("other processes take the processor", busy_machine, is_felt_by_all=True),
)
