"""Mutes and unmutes at random moments of cuts: is anything heard that is muted, and do all sides agree afterwards?

    python -m benchmarks.toggles [--toggles 500] [--unmutes 500] [--devices 4] [--seed 1] [--longest 30] [--json]

Each device is a process whose link can be cut (`benchmarks.links`), and hosts a live stream with one listener. The
link is cut for 1 to `longest` seconds: all of it, its UDP alone, or its TCP connections half-open. Meanwhile the
device toggles its microphone once to four times. 5 s after the link is back the last toggle that did not fail has
to be what the device says, what the media server says and what is heard; then the microphone is switched on, if
need be, and has to be heard. A line for each cut.

Needs root, `unshare`, `ip` and `nft`. An hour on two cores; `make toggles` runs it.
"""

from __future__ import annotations

import argparse
import array
import asyncio
import contextlib
import itertools
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from livekit import api

from benchmarks.links import CUTS, Link, run_in_namespace
from utdstream import UTDLiveStreamSession, UTDStreamClient, UTDStreamException
from utdstream.testing import LocalStack

AGREE_S, LISTEN_S = 5.0, 0.5
LATE_S = 60.0
"""For sides that did not agree in time: how long it took is told."""
IN_FLIGHT_S = 2.0
"""Of sound that was sent before the mute: a busy machine hands it on late."""
LOUD = 1000
GAP_S = 0.3
"""Sound begins anew after so long a pause."""


@dataclass
class Toggle:
    """One toggle: what was wished, when the call ran, and its error."""

    on: bool
    began: float
    ended: float
    error: str | None


@dataclass
class Cut:
    """One cut, and what came of it."""

    device: str
    kind: str
    length_s: float
    toggles: list[Toggle]
    wished: bool
    """The last toggle that did not fail."""
    sides: dict[str, bool]
    """What each says in time."""
    agreed_after_s: float | None
    """When they did not: seconds since the link was back."""
    heard_after_s: float | None
    """Seconds from the unmute at the end; 0 when it was one that stood."""
    audible: int
    """Frames that were heard while it was muted."""
    tail_s: float
    """How long after a mute its sound was heard last, at most `IN_FLIGHT_S`."""
    history: list[str]
    """What went on at the sides that did not agree, in seconds since the link was back."""

    @property
    def is_heard(self) -> bool:
        return self.heard_after_s is not None and self.heard_after_s <= AGREE_S

    @property
    def holds(self) -> bool:
        return not self.audible and self.agreed_after_s is None and self.is_heard


class Device:
    """One device and its listener."""

    def __init__(self, stack: LocalStack, number: int) -> None:
        self.link = Link(number)
        self.identity, self.room = f"toggler-{number}", f"toggles-{number}"
        self._stack = stack
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.toggler"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            group=self.link.group,
            extra_groups=[],
        )
        self._tell(
            app_id=stack.app_id,
            app_key=stack.app_key,
            base_url=stack.base_url,
            identity=self.identity,
            room=self.room,
        )
        self._hear()
        self._client = UTDStreamClient(stack.app_id, stack.app_key, base_url=stack.base_url)
        self.listener: UTDLiveStreamSession = self._client.join_live_stream(
            identity=f"listener-{number}", room_name=self.room
        )
        self._is_over = False
        self.loud: list[float] = []
        self.states: list[tuple[float, str]] = []
        self.told: list[tuple[float, str]] = []
        """What the listener was told of the device's tracks, and when."""
        self.listener.connection.subscribe(
            lambda change: self.told.append((time.monotonic(), change.new.state.value))
        )
        self.listener.remote_participants.subscribe(
            lambda _: self.told.append((time.monotonic(), " ".join(self.heard_tracks()) or "no track"))
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def _tell(self, **wish: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(wish) + "\n")
        self._process.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.identity} has ended")
        return dict(json.loads(line))

    def _listen(self) -> None:
        while not self._is_over:
            with contextlib.suppress(UTDStreamException):  # its room is away for a while
                for frame in self.listener.audio_frames(self.identity):
                    if max(array.array("h", bytes(frame.data))) > LOUD:
                        self.loud.append(time.monotonic())
            time.sleep(0.05)

    def toggle(self, *, on: bool) -> Toggle:
        self._tell(do="toggle", on=on)
        return Toggle(**self._hear())

    def is_heard(self, since: float) -> bool:
        return bool(self.loud) and self.loud[-1] >= since

    def state(self) -> dict[str, Any]:
        """What the device says of itself, and what its connection went through since it was asked last."""
        self._tell(do="state")
        return self._hear()

    def heard_tracks(self) -> list[str]:
        """What the listener sees of the device's tracks."""
        return [
            f"{publication.sid} {'muted' if publication.muted else 'on'}"
            for person in self.listener.remote_participants.value
            if person.identity == self.identity
            for publication in person.publications
        ]

    def at_the_server(self) -> bool:
        """Whether the media server has the track, unmuted."""

        async def ask() -> bool:
            async with api.LiveKitAPI(
                self._stack.livekit_url, self._stack.livekit_api_key, self._stack.livekit_api_secret
            ) as server:
                rooms = (await server.room.list_rooms(api.ListRoomsRequest())).rooms
                for room in rooms:
                    if not room.name.endswith(self.room):
                        continue
                    people = await server.room.list_participants(api.ListParticipantsRequest(room=room.name))
                    for person in people.participants:
                        if person.identity == self.identity:
                            return any(not track.muted for track in person.tracks)
            return False

        return asyncio.run(ask())

    def sides(self) -> dict[str, bool]:
        """What each side says now; half a second of listening."""
        since = time.monotonic()
        time.sleep(LISTEN_S)
        heard = self.is_heard(since)
        state = self.state()
        self.states += state["history"]
        return {"device": state["on"], "server": self.at_the_server(), "heard": heard}

    def forget(self) -> None:
        """Begins anew to note what goes on."""
        for notes in (self.loud, self.told, self.states):
            notes.clear()

    def history(self, since: float) -> list[str]:
        """What went on, in seconds since then."""
        sounds = [
            (at, "sound")
            for before, at in itertools.pairwise((0.0, *tuple(self.loud)))
            if at - before > GAP_S
        ]
        notes = [(at, f"device {word}") for at, word in self.states]
        notes += [(at, f"listener {word}") for at, word in tuple(self.told)]
        return [f"{at - since:.1f} {word}" for at, word in sorted(notes + sounds)]

    def close(self) -> None:
        self._is_over = True
        self._client.dispose()
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()


def heard_again_after(device: Device) -> float | None:
    """Unmutes; returns the seconds until it is heard, None when it is not within `LATE_S`."""
    on = device.toggle(on=True)
    while not device.is_heard(on.began):
        if time.monotonic() > on.began + LATE_S:
            return None
        time.sleep(0.05)
    return round(time.monotonic() - on.began, 1)


def one_cut(device: Device, dice: random.Random, longest_s: float) -> Cut:
    kind, length_s = dice.choice(CUTS), dice.uniform(1.0, longest_s)
    moments = sorted(dice.uniform(0.0, length_s) for _ in range(dice.randint(1, 4)))
    wished = bool(device.state()["on"])
    device.forget()
    began = time.monotonic()
    toggles: list[Toggle] = []
    mend = threading.Timer(length_s, device.link.mend)
    device.link.cut(kind)
    mend.start()
    for moment in moments:
        time.sleep(max(0.0, began + moment - time.monotonic()))
        toggles.append(device.toggle(on=not wished))
        wished = wished if toggles[-1].error is not None else not wished
    mend.join()
    back = time.monotonic()
    time.sleep(max(0.0, back + AGREE_S - LISTEN_S - time.monotonic()))
    sides = device.sides()
    agreed_after_s: float | None = None
    if set(sides.values()) != {wished}:
        while set(device.sides().values()) != {wished} and time.monotonic() < back + LATE_S:
            pass
        agreed_after_s = round(time.monotonic() - back, 1)
    after_mutes = sound_after_mutes(toggles, tuple(device.loud), time.monotonic())
    return Cut(
        device.identity,
        kind,
        round(length_s, 1),
        toggles,
        wished,
        sides,
        agreed_after_s,
        heard_after_s=0.0 if wished else heard_again_after(device),
        audible=sum(late > IN_FLIGHT_S for late in after_mutes),
        tail_s=round(max((late for late in after_mutes if late <= IN_FLIGHT_S), default=0.0), 2),
        history=[] if agreed_after_s is None else device.history(back),
    )


def sound_after_mutes(toggles: list[Toggle], loud: tuple[float, ...], checked: float) -> list[float]:
    """Of each frame that was heard between a mute and the next unmute: how long after the mute."""
    lates: list[float] = []
    for toggle, following in itertools.zip_longest(toggles, toggles[1:]):
        if not toggle.on and toggle.error is None:
            until = following.began if following is not None else checked
            lates += [at - toggle.ended for at in loud if toggle.ended < at < until]
    return lates


def measure(
    toggles: int, unmutes: int, devices: int, seed: int, longest_s: float, note: Callable[[list[Cut]], None]
) -> list[Cut]:
    """Cuts until there were so many toggles and unmutes; `note` hears of each cut, under a lock."""
    cuts: list[Cut] = []
    lock = threading.Lock()
    with LocalStack(project={"max_concurrent_rooms": 1000}) as stack:
        made = [Device(stack, number) for number in range(devices)]

        def run(device: Device, dice: random.Random) -> None:
            while len(cuts) < unmutes or sum(len(cut.toggles) for cut in cuts) < toggles:
                cut = one_cut(device, dice, longest_s)
                with lock:
                    cuts.append(cut)
                    note(cuts)

        runners = [
            threading.Thread(target=run, args=(device, random.Random(seed * 1000 + number)))
            for number, device in enumerate(made)
        ]
        for runner in runners:
            runner.start()
        for runner in runners:
            runner.join()
        for device in made:
            device.close()
    return cuts


def line_of(cuts: list[Cut]) -> str:
    """The newest cut in a line; all of it, when something did not hold."""
    cut = cuts[-1]
    toggles = " ".join(f"{'on' if toggle.on else 'off'}{toggle.error or ''}" for toggle in cut.toggles)
    line = (
        f"{'ok  ' if cut.holds else 'OVER'} {len(cuts)} {cut.device} {cut.kind} {cut.length_s} s: {toggles}"
    )
    return line if cut.holds else f"{line}\n     {cut}"


def summary_of(cuts: list[Cut]) -> dict[str, object]:
    """The figures of all cuts."""
    errors = Counter(toggle.error for cut in cuts for toggle in cut.toggles if toggle.error is not None)
    return {
        "toggles": sum(len(cut.toggles) for cut in cuts),
        "cuts": dict(Counter(cut.kind for cut in cuts)),
        "frames heard while muted": sum(cut.audible for cut in cuts),
        "sound after a mute, at most s": max((cut.tail_s for cut in cuts), default=0.0),
        "sides that disagreed": sum(cut.agreed_after_s is not None for cut in cuts),
        "unmutes": len(cuts),
        "unmutes heard": sum(cut.is_heard for cut in cuts),
        "errors": dict(errors),
        "load": round(os.getloadavg()[2], 1),
        "holds": all(cut.holds for cut in cuts),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--toggles", type=int, default=500)
    parser.add_argument("--unmutes", type=int, default=500, help="that stood behind a cut: one each")
    parser.add_argument("--devices", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longest", type=float, default=30.0, help="of a cut, in seconds")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    run_in_namespace("benchmarks.toggles", arguments or sys.argv[1:])

    def note(cuts: list[Cut]) -> None:
        if not options.json:
            print(line_of(cuts), flush=True)

    cuts = measure(options.toggles, options.unmutes, options.devices, options.seed, options.longest, note)
    summary = summary_of(cuts) | {"seed": options.seed}
    print(json.dumps([summary], indent=2) if options.json else summary)
    return 0 if summary["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
