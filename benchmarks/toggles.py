"""Mutes and unmutes at random moments of cuts: is anything heard that is muted, and do all sides agree afterwards?

    python -m benchmarks.toggles [--toggles 500] [--devices 6] [--seed 1] [--longest 30] [--json]

Each device is a process in a network namespace and hosts a live stream with one listener. Its link is cut for 1 to
`longest` seconds: the whole link, its UDP alone, or its TCP connections half-open (what they carry is lost without
a word; new ones work). Meanwhile it toggles its microphone once to four times. 5 s after the link is back the last
toggle that did not fail has to be what the device says, what the media server says and what is heard; then the
microphone is switched on, if need be, and has to be heard.

Needs root, `unshare`, `ip` and `nft`. An hour on two cores for 500 toggles; `make toggles` runs it.
"""

from __future__ import annotations

import argparse
import array
import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from livekit import api

from utdstream import Devices, UTDLiveStreamSession, UTDStreamClient, UTDStreamException
from utdstream.synthetic import NullSpeaker
from utdstream.testing import LocalStack

CUTS = ("link", "udp", "signal half-open")
AGREE_S = 5.0
LATE_S = 60.0
"""For sides that did not agree in time: how long it took is told."""
IN_FLIGHT_S = 2.0
"""Of sound that was sent before the mute: a busy machine hands it on late."""
LOUD = 1000
FIRST_GROUP = 61_000
NETWORK = (
    "ip link set lo up && ip link add v0 type veth peer name v1 && ip addr add 10.9.0.1/24 dev v0"
    " && ip link set v0 up && ip link set v1 up && ip route add default via 10.9.0.2"
)
"""Media does not go over the loopback interface alone."""
INSIDE = "UTD_TOGGLES_INSIDE"
NFT = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "nft"


def nft(*commands: str) -> None:
    for command in commands:
        subprocess.run([NFT, command], check=True, capture_output=True)


class Link:
    """The link of one device: its packets are known by its group, its connections by their mark."""

    def __init__(self, number: int) -> None:
        self.group = FIRST_GROUP + number
        self._mark = (number + 1) * 1000
        self._chain = f"device{number}"
        nft(
            f"add chain inet toggles {self._chain}",
            f"add chain inet toggles {self._chain}_mark",
            f"add rule inet toggles out jump {self._chain}_mark",
            f"add rule inet toggles out jump {self._chain}",
        )
        self._mark_new()

    def _mark_new(self) -> None:
        """Marks the connections that begin from now on with a number of their own."""
        self._mark += 1
        nft(
            f"flush chain inet toggles {self._chain}_mark",
            f"add rule inet toggles {self._chain}_mark meta skgid {self.group} ct mark 0 ct mark set {self._mark}",
        )

    def cut(self, kind: str) -> None:
        first = self._mark // 1000 * 1000
        mine = f"ct mark {first}-{first + 999}"
        if kind == "signal half-open":
            mine = f"ct mark {first}-{self._mark}"
            self._mark_new()
        protocol = {"link": "", "udp": "meta l4proto udp", "signal half-open": "meta l4proto tcp"}[kind]
        nft(f"add rule inet toggles {self._chain} {protocol} {mine} drop")

    def mend(self) -> None:
        nft(f"flush chain inet toggles {self._chain}")


@dataclass
class Toggle:
    """One toggle: what was wished, when the call ran, and its error."""

    on: bool
    began: float
    ended: float
    error: str | None


@dataclass
class Outcome:
    """What was counted."""

    toggles: int = 0
    cuts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CUTS, 0))
    audible_while_muted: int = 0
    audible: list[dict[str, Any]] = field(default_factory=list)
    """Where they were heard: seconds since the mute, the first and the last."""
    disagree: list[dict[str, Any]] = field(default_factory=list)
    unmutes: int = 0
    unmutes_heard: int = 0
    unheard: list[dict[str, Any]] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)


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
        )
        self._tell(
            app_id=stack.app_id,
            app_key=stack.app_key,
            base_url=stack.base_url,
            identity=self.identity,
            room=self.room,
            group=self.link.group,
        )
        self._hear()
        self._client = UTDStreamClient(
            stack.app_id, stack.app_key, base_url=stack.base_url, devices=Devices(speaker=NullSpeaker())
        )
        self.listener: UTDLiveStreamSession = self._client.join_live_stream(
            identity=f"listener-{number}", room_name=self.room
        )
        self.loud: list[float] = []
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
        while True:
            try:
                for frame in self.listener.audio_frames(self.identity):
                    if max(array.array("h", bytes(frame.data))) > LOUD:
                        self.loud.append(time.monotonic())
            except UTDStreamException:
                return
            time.sleep(0.1)

    def toggle(self, *, on: bool) -> Toggle:
        self._tell(do="toggle", on=on)
        return Toggle(**self._hear())

    def is_heard(self, since: float) -> bool:
        return bool(self.loud) and self.loud[-1] >= since

    def state(self) -> dict[str, Any]:
        self._tell(do="state")
        return self._hear()

    def says(self) -> bool:
        return bool(self.state()["on"])

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
        time.sleep(0.5)
        return {"device": self.says(), "server": self.at_the_server(), "heard": self.is_heard(since)}

    def close(self) -> None:
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


def one_cut(
    device: Device, dice: random.Random, longest_s: float, outcome: Outcome, lock: threading.Lock
) -> None:
    kind, length_s = dice.choice(CUTS), dice.uniform(1.0, longest_s)
    moments = sorted(dice.uniform(0.0, length_s) for _ in range(dice.randint(1, 4)))
    wished = device.says()
    began = time.monotonic()
    toggles: list[Toggle] = []
    mend = threading.Timer(length_s, device.link.mend)
    device.link.cut(kind)
    mend.start()
    for moment in moments:
        time.sleep(max(0.0, began + moment - time.monotonic()))
        wished = not wished
        toggles.append(device.toggle(on=wished))
        if toggles[-1].error is not None:
            wished = not wished
    mend.join()
    back = time.monotonic()
    time.sleep(max(0.0, back + AGREE_S - 0.5 - time.monotonic()))
    sides = device.sides()
    agreed_after: float | None = None
    states: list[object] = []
    if set(sides.values()) != {wished}:
        states += [device.state(), device.heard_tracks()]
        while set(device.sides().values()) != {wished} and time.monotonic() < back + LATE_S:
            pass
        agreed_after = round(time.monotonic() - back, 1)
        states += [device.state(), device.heard_tracks()]
    checked = time.monotonic()
    audible, heard_muted = 0, list[dict[str, Any]]()
    for index, toggle in enumerate(toggles):
        if not toggle.on and toggle.error is None:
            until = toggles[index + 1].began if index + 1 < len(toggles) else checked
            loud = [at - toggle.ended for at in tuple(device.loud) if toggle.ended + IN_FLIGHT_S < at < until]
            if loud:
                heard_muted.append(
                    {
                        "cut": kind,
                        "length_s": round(length_s, 1),
                        "muted_at_s": round(toggle.began - began, 1),
                        "took_s": round(toggle.ended - toggle.began, 2),
                        "frames": len(loud),
                        "first_s": round(loud[0], 2),
                        "last_s": round(loud[-1], 2),
                    }
                )
            audible += len(loud)
    heard_after: float | None = 0.0
    if not wished:
        heard_after = heard_again_after(device)
    heard = heard_after is not None and heard_after <= AGREE_S
    with lock:
        outcome.toggles += len(toggles)
        outcome.cuts[kind] += 1
        outcome.audible_while_muted += audible
        outcome.audible += heard_muted
        outcome.unmutes += sum(toggle.on for toggle in toggles) + (not wished)
        outcome.unmutes_heard += sum(toggle.on for toggle in toggles) + (not wished) - (not heard)
        if not heard:
            outcome.unheard.append({"device": device.identity, "cut": kind, "heard_after_s": heard_after})
        for toggle in toggles:
            if toggle.error is not None:
                outcome.errors[toggle.error] = outcome.errors.get(toggle.error, 0) + 1
        if agreed_after is not None:
            outcome.disagree.append(
                {
                    "device": device.identity,
                    "cut": kind,
                    "length_s": round(length_s, 1),
                    "toggles": [(t.on, round(t.began - began, 1), t.error) for t in toggles],
                    "wished": wished,
                    "sides": sides,
                    "agreed_after_s": agreed_after,
                    "states": states,
                }
            )
    device.loud.clear()


def measure(toggles: int, devices: int, seed: int, longest_s: float) -> Outcome:
    nft("add table inet toggles", "add chain inet toggles out { type filter hook output priority 0; }")
    outcome, lock = Outcome(), threading.Lock()
    with LocalStack(project={"max_concurrent_rooms": 1000}) as stack:
        made = [Device(stack, number) for number in range(devices)]

        def run(device: Device, dice: random.Random) -> None:
            while outcome.toggles < toggles:
                one_cut(device, dice, longest_s, outcome, lock)

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
    return outcome


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--toggles", type=int, default=500)
    parser.add_argument("--devices", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longest", type=float, default=30.0, help="of a cut, in seconds")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if INSIDE not in os.environ:
        if os.geteuid() != 0:
            raise SystemExit("benchmarks.toggles makes a network namespace: run it as root")
        inside = f'{NETWORK} && exec "$@"'
        command = [sys.executable, "-m", "benchmarks.toggles", *(arguments or sys.argv[1:])]
        os.execvpe(
            "unshare", ["unshare", "-n", "sh", "-c", inside, "inside", *command], os.environ | {INSIDE: "1"}
        )
    outcome = measure(options.toggles, options.devices, options.seed, options.longest)
    holds = (
        not outcome.audible_while_muted and not outcome.disagree and outcome.unmutes == outcome.unmutes_heard
    )
    if options.json:
        print(json.dumps([vars(outcome) | {"seed": options.seed, "holds": holds}], indent=2))
    else:
        print(
            f"{'ok  ' if holds else 'OVER'} {outcome.toggles} toggles in {sum(outcome.cuts.values())} cuts: "
            f"{outcome.audible_while_muted} frames heard while muted, {len(outcome.disagree)} times sides that "
            f"disagreed {AGREE_S:g} s after the link, {outcome.unmutes_heard} of {outcome.unmutes} unmutes heard, "
            f"errors {outcome.errors or 'none'}"
        )
        for one in (*outcome.audible, *outcome.unheard, *outcome.disagree):
            print(f"     {one}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
