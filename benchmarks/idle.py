"""A doorbell that waits for its button: how often it wakes up, what it costs and holds.

    python -m benchmarks.idle [--seconds 120] [--json]

The doorbell is the shipped program with a real engine, broker and watchdog, no devices; the script signs in and
listens for calls by the SDK. Wake-ups are the voluntary context switches of all threads of a process. The floor
signs in by requests and holds a connection to the broker by paho's own loop. Bars: 0.3 wake-ups a second, 30 MiB
resident, no media core loaded.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from utdstream.testing import LocalStack

WAKEUPS_BAR, RESIDENT_BAR_MIB = 0.3, 30.0
SETTLE_S = 15.0
WATCHDOG = {"WATCHDOG_USEC": "90000000"}
"""As the shipped unit asks for."""
DOORBELL = """
[engine]
base_url = "{base_url}"
app_id = "{app_id}"
app_key_file = "{key_file}"
[device]
identity = "idle-door"
[audio]
adapter = "none"
[camera]
adapter = "none"
[button]
adapter = "none"
[doorbell]
callees = ["idle-house"]
media = "audio"
"""
SCRIPT = """
import signal
from utdstream import UTDStreamClient
with UTDStreamClient.from_environment() as client:
    client.authenticate(identity="idle-script")
    client.incoming_calls().connected.wait_for(True)
    print("ready", flush=True)
    signal.pause()
"""
BARE = """
import json, os, requests
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
session = requests.Session()
session.headers.update({"X-App-Id": os.environ["UTD_APP_ID"], "X-App-Key": os.environ["UTD_APP_KEY"]})
url = os.environ["UTD_BASE_URL"] + "/api/v1/auth/session"
login = session.post(url, json={"identity": "idle-bare"}, timeout=8).json()["mqtt"]
client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
client.username_pw_set(login["username"], login["password"])
client.connect(login["host"], login["port"], 60)
client.subscribe(login["topic"], qos=1)
print("ready", flush=True)
client.loop_forever()
"""


@dataclass(frozen=True)
class Waiting:
    """What a process that waits costs."""

    name: str
    wakeups_per_s: float
    cpu_ms_per_min: float
    resident_mib: float
    threads: int
    core_loaded: bool
    wakeups_of_threads: tuple[float, ...]
    came_or_went: int
    """Threads of which some switches are not known."""

    @property
    def holds(self) -> bool:
        within = self.wakeups_per_s <= WAKEUPS_BAR and self.resident_mib <= RESIDENT_BAR_MIB
        return within and not self.core_loaded

    def line(self) -> str:
        whose = ", ".join(f"{rate:.2f}" for rate in self.wakeups_of_threads if rate)
        return (
            f"{self.name}: {self.wakeups_per_s:.2f} wake-ups a second ({whose}), "
            f"{self.cpu_ms_per_min:.0f} ms of CPU a minute, {self.resident_mib:.1f} MiB, {self.threads} threads"
            f"{', the media core loaded' if self.core_loaded else ''}"
            f"{f', {self.came_or_went} threads came or went' if self.came_or_went else ''}"
        )


def switches(process: int) -> Counter[str]:
    """Returns the voluntary switches of each thread so far."""
    found: Counter[str] = Counter()
    for task in Path(f"/proc/{process}/task").iterdir():
        with contextlib.suppress(OSError):  # it may end just now
            said = (task / "status").read_text(encoding="ascii", errors="replace")
            if count := re.search(r"^voluntary_ctxt_switches:\s+(\d+)", said, re.MULTILINE):
                found[task.name] = int(count[1])
    return found


def cpu_s(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def watch(name: str, process: int, seconds: float) -> Waiting:
    before, cpu_before = switches(process), cpu_s(process)
    time.sleep(seconds)
    after, cpu_after = switches(process), cpu_s(process)
    rates = sorted(((after[task] - before[task]) / seconds for task in after), reverse=True)
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
    resident = re.search(r"^VmRSS:\s+(\d+)", status, re.MULTILINE)
    maps = Path(f"/proc/{process}/maps").read_text(encoding="utf-8", errors="replace")
    return Waiting(
        name=name,
        wakeups_per_s=sum(rates),
        cpu_ms_per_min=(cpu_after - cpu_before) * 60_000 / seconds,
        resident_mib=int(resident[1]) / 1024 if resident else 0.0,
        threads=len(after),
        core_loaded="livekit_ffi" in maps,
        wakeups_of_threads=tuple(round(rate, 3) for rate in rates),
        came_or_went=len(before.keys() ^ after.keys()),
    )


def doorbell(stack: LocalStack, folder: Path, seconds: float) -> Waiting:
    (folder / "app_key").write_text(stack.app_key, encoding="utf-8")
    path = folder / "doorbell.toml"
    path.write_text(
        DOORBELL.format(base_url=stack.base_url, app_id=stack.app_id, key_file=folder / "app_key"),
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "device", "doorbell", "--config", str(path)]
    return waiting("the doorbell", command, stack, seconds)


def waiting(name: str, command: list[str], stack: LocalStack, seconds: float) -> Waiting:
    """Watches a program from a while after it said that it is ready."""
    where = {"UTD_BASE_URL": stack.base_url, "UTD_APP_ID": stack.app_id, "UTD_APP_KEY": stack.app_key}
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        tempfile.TemporaryDirectory() as folder,
    ):
        manager.bind(f"{folder}/notify")
        return _waiting(name, command, where | {"NOTIFY_SOCKET": f"{folder}/notify", **WATCHDOG}, seconds)


def _waiting(name: str, command: list[str], where: dict[str, str], seconds: float) -> Waiting:
    with subprocess.Popen(
        command,
        env=os.environ | where,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if line.rstrip().endswith("ready"):
                    break
            else:
                raise RuntimeError(f"{name} has ended: {''.join(said)}")
            time.sleep(SETTLE_S)
            return watch(name, process.pid, seconds)
        finally:
            process.terminate()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--seconds", type=float, default=120.0)
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, LocalStack() as stack:
        door = doorbell(stack, Path(folder), chosen.seconds)
        script, bare = (
            waiting(name, [sys.executable, "-c", text], stack, chosen.seconds)
            for name, text in (("a script", SCRIPT), ("requests and paho alone", BARE))
        )
    holds = all(arm.holds for arm in (door, script))
    if chosen.json:
        arms = {"doorbell": asdict(door), "script": asdict(script), "bare": asdict(bare)}
        print(json.dumps(arms | {"holds": holds}, indent=2))
    else:
        bars = f"bars {WAKEUPS_BAR:g} a second, {RESIDENT_BAR_MIB:g} MiB"
        for arm in (door, script, bare):
            mark = "    " if arm is bare else "ok  " if arm.holds else "OVER"
            print(f"{mark} {arm.line()}{'' if arm is bare else f'; {bars}'}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
