"""A sound server of the tests' own: real PyAudio, real PortAudio, real ALSA library, no sound card.

Owns: `PulseCards`, a private PulseAudio with null sinks, reached through ALSA's pulse plugin. Everything
is in one folder; the daemon is a child that is killed by its id.

An idle null sink renders in blocks of two seconds, so a reader is kept on each monitor, and the cards are
used only once those readers get their sound steadily.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PAIRS = ("house", "door")
START_S = 20.0
STEADY_BYTES = 48_000 * 4 * 3
"""Three seconds of a sink: longer than its longest block."""


class PulseCards:
    """For each name in PAIRS: `<name>-speaker`, `<name>-microphone`, and the far ends of both.

    `<name>-ear` hears what the speaker plays; what is played to `<name>-mouth` the microphone hears.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._run = folder / "run"
        self._run.mkdir(mode=0o700)
        self._daemon: subprocess.Popen[bytes] | None = None
        self._keepers: list[subprocess.Popen[bytes]] = []
        self._script = folder / "default.pa"
        self.alsa = folder / "asound.conf"
        self._write()

    @property
    def environment(self) -> dict[str, str]:
        """What a process that uses these cards needs."""
        return {
            "PULSE_SERVER": f"unix:{self._run}/native",
            "ALSA_CONFIG_PATH": str(self.alsa),
        }

    def _write(self) -> None:
        lines = [
            ".fail",
            f"load-module module-native-protocol-unix auth-anonymous=1 socket={self._run}/native",
        ]
        alsa = []
        for name in PAIRS:
            for sink in (f"{name}spk", f"{name}mic"):
                properties = f"sink_properties=device.description={sink}"
                lines.append(
                    f"load-module module-null-sink sink_name={sink} rate=48000 channels=2 {properties}"
                )
            lines.append(
                f"load-module module-remap-source source_name={name}src master={name}mic.monitor "
                f"source_properties=device.description={name}src"
            )
            for card, device in (
                ("speaker", f"{name}spk"),
                ("microphone", f"{name}src"),
                ("ear", f"{name}spk.monitor"),
                ("mouth", f"{name}mic"),
            ):
                alsa.append(
                    f'pcm.{name}-{card} {{ type pulse device "{device}" '
                    f'hint {{ show on description "{name} {card}" }} }}'
                )
        alsa.append(
            f'pcm.!default {{ type asym playback.pcm "{PAIRS[0]}-speaker" capture.pcm '
            f'"{PAIRS[0]}-microphone" hint {{ show on description "default" }} }}'
        )
        alsa.append("ctl.!default { type pulse }")
        self._script.write_text("\n".join(lines) + "\n")
        self.alsa.write_text("\n".join(alsa) + "\n")

    def start(self, *, steady: bool = True) -> None:
        """Returns when the sinks are there, and (steady) render in small blocks."""
        (self._run / "native").unlink(missing_ok=True)
        command = [
            "pulseaudio", "-n", "-F", str(self._script), "--daemonize=no", "--exit-idle-time=-1",
            "--use-pid-file=no", "--realtime=no", "--high-priority=no",
            f"--log-target=file:{self._folder}/pulse.log",
        ]  # fmt: skip
        ours = {
            "PULSE_RUNTIME_PATH": str(self._run),
            "XDG_RUNTIME_DIR": str(self._run),
            "HOME": str(self._folder),
        }
        environment = {**os.environ, **self.environment, **ours}
        self._daemon = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + START_S
        while self._pactl("info") != 0:
            assert time.monotonic() < until, "PulseAudio did not start"
            assert self._daemon.poll() is None, (self._folder / "pulse.log").read_text()
            time.sleep(0.02)
        marks = []
        for sink in (f"{name}{side}" for name in PAIRS for side in ("spk", "mic")):
            mark = self._folder / f"{sink}.steady"
            mark.unlink(missing_ok=True)
            marks.append(mark)
            reader = f"parec --latency-msec=10 -d {sink}.monitor --raw"
            keep = f"{reader} | (head -c {STEADY_BYTES} >/dev/null; touch {mark}; exec cat >/dev/null)"
            self._keepers.append(
                subprocess.Popen(
                    ["sh", "-c", keep], env=environment, stderr=subprocess.DEVNULL, start_new_session=True
                )
            )
        while steady and not all(mark.exists() for mark in marks):
            assert time.monotonic() < until, "the null sinks did not become steady"
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL: as a card that is pulled out."""
        if self._daemon is not None:
            self._daemon.send_signal(signal.SIGKILL)
            self._daemon.wait()
            self._daemon = None
        for keeper in self._keepers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(keeper.pid, signal.SIGKILL)
            keeper.wait()
        self._keepers.clear()

    def suspend(self, *, on: bool) -> None:
        """All sinks stop, as a card that hangs; or go on."""
        for name in PAIRS:
            for sink in (f"{name}spk", f"{name}mic"):
                assert self._pactl("suspend-sink", sink, "1" if on else "0") == 0

    def _pactl(self, *arguments: str) -> int:
        return subprocess.run(
            ["pactl", *arguments],
            env={**os.environ, **self.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        ).returncode


@contextmanager
def running_cards(folder: Path) -> Iterator[PulseCards]:
    """Cards for a while, and this process's environment set to them."""
    missing = [name for name in ("pulseaudio", "pactl", "parec") if shutil.which(name) is None]
    if missing:
        sentence = f"{', '.join(missing)} is missing: `make setup` installs PulseAudio for the tests"
        if os.environ.get("CI"):
            pytest.fail(sentence, pytrace=False)
        pytest.skip(sentence)
    made = PulseCards(folder)
    before = {name: os.environ.get(name) for name in made.environment}
    os.environ.update(made.environment)
    try:
        made.start()
        yield made
    finally:
        made.kill()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PulseCards]:
    """The private sound server, for one module of tests."""
    with running_cards(tmp_path_factory.mktemp("pulse")) as made:
        yield made
