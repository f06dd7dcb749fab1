"""A two-way call on the real servers, both ends on real PyAudio: whole, and alive when the cards are not."""

from __future__ import annotations

import collections
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest
from facts import eventually
from pulse import PulseCards

from device.audio.alsa import AlsaMicrophone, AlsaSpeaker
from utdstream.media import PcmFrame
from utdstream.testing import LocalStack

PROGRAM = Path(__file__).parent / "programs" / "card_phone.py"
_numbers = itertools.count(1)

RATE = 48_000
CALL_S = 30.0
BURST_EVERY_S = 0.51
"""An odd number of frames: every second burst begins a packet of 20 ms, the others are its second half."""


class Speech:
    """What somebody says to a microphone, and what an ear hears of a speaker: both through the card.

    The tone is `pitch_hz`, all the time; `clicks` are bursts of noise-free 3 kHz put over it, with the moment
    each was handed to the card.
    """

    def __init__(self, mouth: str, ear: str, pitch_hz: float) -> None:
        self._mouth, self._ear = AlsaSpeaker(mouth), AlsaMicrophone(ear)
        self._pitch, self._at = pitch_hz, 0
        self._lock = threading.Lock()
        self.heard: list[tuple[float, bytes]] = []
        self.said: list[float] = []
        self.burst = False

    def __enter__(self) -> Speech:
        self._ear.start(self._hear)
        self._mouth.start(self._say)
        return self

    def __exit__(self, *error: object) -> None:
        self._mouth.stop()
        self._ear.stop()

    def _say(self, samples: int) -> bytes:
        times = numpy.arange(self._at, self._at + samples)
        due = self.burst and self._at % int(BURST_EVERY_S * RATE) < samples
        self._at += samples
        if due:
            self.said.append(time.monotonic())
            return (12_000 * numpy.sin(2 * numpy.pi * 3000 * times / RATE)).astype(numpy.int16).tobytes()
        level = 1_000 if self.burst else 8_000
        return (level * numpy.sin(2 * numpy.pi * self._pitch * times / RATE)).astype(numpy.int16).tobytes()

    def _hear(self, frame: PcmFrame) -> None:
        self.heard.append((time.monotonic(), bytes(frame.data)))

    def sound(self, since_s: float = 0.0) -> numpy.ndarray:
        heard = b"".join(pcm for at, pcm in list(self.heard) if at >= since_s)
        return numpy.frombuffer(heard, dtype=numpy.int16).astype(numpy.float64)


def pitch_hz(sound: numpy.ndarray) -> float:
    spectrum = numpy.abs(numpy.fft.rfft(sound * numpy.hanning(len(sound))))
    return float(numpy.argmax(spectrum)) * RATE / len(sound)


def longest_gap_ms(sound: numpy.ndarray) -> float:
    """The longest run of 5 ms windows below a quarter of the usual loudness."""
    windows = sound[: len(sound) // 240 * 240].reshape(-1, 240)
    loud = numpy.sqrt((windows**2).mean(axis=1))
    longest = run = 0
    for quiet in loud < numpy.median(loud) / 4:
        run = run + 1 if quiet else 0
        longest = max(longest, run)
    return longest * 5.0


def delays_ms(said: list[float], heard: list[tuple[float, bytes]]) -> list[float]:
    """From each burst at the mouth to its first loud frame at the ear."""
    loud = [
        at
        for at, pcm in heard
        if numpy.abs(numpy.frombuffer(pcm, dtype=numpy.int16).astype(numpy.int32)).max() > 6_000
    ]
    found = []
    for begun in said:
        after = [at for at in loud if begun <= at < begun + BURST_EVERY_S]
        if after:
            found.append((after[0] - begun) * 1000)
    return found


class Phone:
    """One end of the call: a process of its own, on cards of its own."""

    def __init__(
        self,
        stack: LocalStack,
        *arguments: str,
        program: Path = PROGRAM,
        environment: dict[str, str] | None = None,
    ) -> None:
        everything = {
            **os.environ,
            "UTD_BASE_URL": stack.base_url,
            "UTD_APP_ID": stack.app_id,
            "UTD_APP_KEY": stack.app_key,
            **(environment or {}),
        }
        self._process = subprocess.Popen(
            [sys.executable, str(program), *arguments],
            env=everything, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=None if "UTD_SHOW" in os.environ else subprocess.DEVNULL,
        )  # fmt: skip
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said.append(line.strip())

    def wait_for(self, word: str, within_s: float = 20, since: int = 0) -> None:
        eventually(
            lambda: any(line.startswith(word) for line in self.said[since:]),
            f"{word} in {self.said}",
            within_s,
        )

    def close(self) -> None:
        assert self._process.stdin is not None
        if self._process.stdin.closed:
            return
        self._process.stdin.close()
        try:
            self._process.wait(15)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join(5)
            assert self._process.stdout is not None
            self._process.stdout.close()


@pytest.fixture
def talk(cards: PulseCards, stack: LocalStack) -> Iterator[tuple[Phone, Phone]]:
    """A door and a house in an audio call."""
    number = next(_numbers)
    house = Phone(stack, f"card-house-{number}", "house")
    door: Phone | None = None
    try:
        house.wait_for("listening")
        door = Phone(stack, f"card-door-{number}", "door", f"card-house-{number}")
        house.wait_for("answered")
        door.wait_for("status active")
        yield door, house
    finally:
        for phone in (door, house):
            if phone is not None:
                phone.close()


def loop_ms() -> float:
    """The same way without a call: the door's microphone straight to the house's speaker, PortAudio alone."""
    waiting: collections.deque[bytes] = collections.deque(maxlen=20)
    microphone, speaker = AlsaMicrophone("door-microphone"), AlsaSpeaker("house-speaker")
    silence = bytes(speaker.format.frame_bytes)
    speaker.start(lambda _samples: waiting.popleft() if waiting else silence)
    microphone.start(lambda frame: waiting.append(bytes(frame.data)))
    try:
        with Speech("door-mouth", "house-ear", 1000.0) as loop:
            loop.burst = True
            eventually(lambda: len(loop.said) >= 16, "some bursts", within_s=30)
    finally:
        microphone.stop()
        speaker.stop()
    return float(numpy.mean(delays_ms(loop.said[4:-1], loop.heard)))


def one_way_ms(mouth: str, ear: str, other_mouth: str, other_ear: str) -> float:
    with Speech(mouth, ear, 1000.0) as speech, Speech(other_mouth, other_ear, 700.0):
        speech.burst = True
        eventually(lambda: len(speech.said) >= 16, "some bursts", within_s=30)
    delays = delays_ms(speech.said[4:-1], speech.heard)
    assert len(delays) > 0, f"none of {len(speech.said)} bursts was heard"
    return float(numpy.mean(delays))


@pytest.mark.integration
@pytest.mark.slow
def test_call_when_both_ends_are_on_cards_is_heard_whole_for_30_seconds(
    talk: tuple[Phone, Phone],
) -> None:
    """Both tones within 5 Hz, no gap over 40 ms after the first second, and how long sound takes."""
    phones = talk
    with Speech("door-mouth", "house-ear", 1000.0) as door, Speech("house-mouth", "door-ear", 700.0) as house:
        begun = time.monotonic()
        eventually(lambda: time.monotonic() - begun > CALL_S + 1, "30 s of talk", within_s=CALL_S + 10)
        sounds = [speech.sound(begun + 1.0) for speech in (door, house)]
    figures = [(pitch_hz(sound), longest_gap_ms(sound)) for sound in sounds]
    print("pitch and longest gap:", figures)
    for (pitch, gap_ms), wanted in zip(figures, (1000.0, 700.0), strict=True):
        assert abs(pitch - wanted) < 5
        assert gap_ms <= 5 * 40  # the bar is 40 ms; a busy machine has five times the room
    assert [phone.said[-1] for phone in phones] == ["status active", "answered"]

    there = one_way_ms("door-mouth", "house-ear", "house-mouth", "door-ear")
    for phone in phones:
        phone.close()  # the cards are free for the loop
    loop = loop_ms()
    over = there - loop
    print(f"mouth to ear {there:.0f} ms, the same loop with PortAudio alone {loop:.0f} ms: {over:+.0f} ms")
    assert over < 5 * 60  # the bar is 60 ms; timed assertions have five times the room


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.parametrize("fault", ["suspend", "kill"])
def test_call_when_the_sound_server_fails_goes_on_and_is_heard_again(
    cards: PulseCards, talk: tuple[Phone, Phone], fault: str
) -> None:
    """Suspended, or killed and restarted: the call is never dropped, and sound is back within seconds."""
    door, house = talk
    with Speech("door-mouth", "house-ear", 1000.0) as before:
        eventually(lambda: is_tone(before.sound(time.monotonic() - 0.5)), "it is heard", within_s=10)
    if fault == "suspend":
        cards.suspend(on=True)
        door.wait_for("problem")
        cards.suspend(on=False)
    else:
        cards.kill()
        door.wait_for("problem")
        cards.start(steady=False)
    back = time.monotonic()
    with Speech("door-mouth", "house-ear", 1000.0) as after:
        eventually(lambda: is_tone(after.sound(time.monotonic() - 0.3)), "it is heard again", within_s=15)
    print(f"{fault}: heard again {time.monotonic() - back:.2f} s after the sound server")
    door.wait_for("healed")
    said = [line for phone in (door, house) for line in phone.said if line.startswith("status")]
    assert said[-1] == "status active"
    assert not {"status ended", "status missed"} & set(said)


def is_tone(sound: numpy.ndarray, level: int = 2000) -> bool:
    return len(sound) > 4800 and numpy.abs(sound).max() > level and abs(pitch_hz(sound) - 1000) < 20


@pytest.mark.integration
def test_call_when_the_core_has_the_cards_is_heard_both_ways(cards: PulseCards, stack: LocalStack) -> None:
    """The other path, chosen as a whole: the door's sound never passes through Python."""
    number = next(_numbers)
    house = Phone(stack, f"core-house-{number}", "house")
    door: Phone | None = None
    try:
        house.wait_for("listening")
        arguments = (f"core-door-{number}", f"core-house-{number}")
        defaults = {"PULSE_SINK": "doorspk", "PULSE_SOURCE": "doorsrc"}
        door = Phone(stack, *arguments, program=PROGRAM.with_name("platform_phone.py"), environment=defaults)
        door.wait_for("status active")
        with (
            Speech("door-mouth", "house-ear", 1000.0) as there,
            Speech("house-mouth", "door-ear", 1000.0) as back,
        ):

            def is_heard(speech: Speech) -> bool:
                # The core's processing takes a steady tone for noise, and the other side's for its echo: it is
                # heard at a quarter of its level, after some seconds of less.
                return is_tone(speech.sound(time.monotonic() - 0.5), level=500)

            eventually(lambda: is_heard(there), "the house hears the door", 15)
            eventually(lambda: is_heard(back), "the door hears the house", 15)
    finally:
        for phone in (door, house):
            if phone is not None:
                phone.close()
