"""The gate between a camera's H.264 and the core, by itself: every rule, and sequences drawn by chance."""

from __future__ import annotations

import random

import pytest
from h264_camera import H264Camera, collect

from utdstream import EncodedFrame, InvalidConfig
from utdstream._livekit.h264 import IDR as IDR_TYPE
from utdstream._livekit.h264 import PPS as PPS_TYPE
from utdstream._livekit.h264 import SPS as SPS_TYPE
from utdstream._livekit.h264 import H264Gate, Passage, nal_units

START = b"\x00\x00\x00\x01"
SHORT = b"\x00\x00\x01"
SPS, PPS, IDR, DELTA = (bytes([kind]) + b"payload" for kind in (0x67, 0x68, 0x65, 0x41))
WIDTH, HEIGHT = 320, 240


def units_of(data: bytes) -> list[int]:
    return [kind for kind, _, _ in nal_units(data)]


def unit(*nals: bytes, width: int = WIDTH, codec: str = "h264") -> EncodedFrame:
    return EncodedFrame(b"".join(START + nal for nal in nals), width, HEIGHT, codec, False, 1)


@pytest.fixture
def gate() -> H264Gate:
    """A gate that has seen nothing."""
    return H264Gate(WIDTH, HEIGHT)


def sent(passage: Passage) -> list[int] | None:
    """The NAL types that go to the core; None when the unit was dropped."""
    return None if passage.data is None else units_of(passage.data)


def test_gate_when_a_delta_comes_first_asks_for_a_key_frame(gate: H264Gate) -> None:
    """Nobody could decode it."""
    passage = gate.admit(unit(DELTA), is_open=True)
    assert (passage.data, passage.wants_key_frame, gate.dropped) == (None, True, 1)


def test_gate_when_an_idr_comes_before_any_parameter_sets_drops_it_in_silence(gate: H264Gate) -> None:
    """Another request would bring another such key frame: it waits for the parameter sets."""
    passage = gate.admit(unit(IDR), is_open=True)
    assert (passage.data, passage.wants_key_frame) == (None, False)
    gate.admit(unit(SPS), is_open=True)
    gate.admit(unit(PPS), is_open=True)
    assert sent(gate.admit(unit(IDR), is_open=True)) == [7, 8, 5]


def test_gate_when_a_key_frame_lacks_parameter_sets_puts_the_newest_in_front(gate: H264Gate) -> None:
    """An encoder that was set up anew says so once; viewers who join later need it too."""
    gate.admit(unit(SPS, PPS, IDR), is_open=True)
    gate.admit(unit(SPS + b"2", DELTA), is_open=True)
    passage = gate.admit(unit(IDR), is_open=True)
    assert passage.data == START + SPS + b"2" + START + PPS + START + IDR
    assert passage.is_key


def test_gate_when_a_key_frame_is_complete_sends_it_as_it_is(gate: H264Gate) -> None:
    """Nothing is put in front twice."""
    frame = unit(SPS, PPS, IDR)
    assert gate.admit(frame, is_open=True) == Passage(bytes(frame.data), is_key=True)


def test_gate_when_muted_learns_parameter_sets_and_asks_for_nothing(gate: H264Gate) -> None:
    """A muted camera is not made to work; what it said about its stream is not forgotten."""
    passage = gate.admit(unit(SPS, PPS, IDR), is_open=False)
    assert (passage.data, passage.wants_key_frame) == (None, False)
    assert sent(gate.admit(unit(IDR), is_open=True)) == [7, 8, 5]


@pytest.mark.parametrize("cause", ["muted", "restarted", "refused by the core", "refused by the gate"])
def test_gate_when_the_chain_is_broken_waits_for_a_key_frame(gate: H264Gate, cause: str) -> None:
    """Whatever broke it: deltas are dropped, each asks, the key frame passes."""
    gate.admit(unit(SPS, PPS, IDR), is_open=True)
    if cause == "muted":
        gate.admit(unit(DELTA), is_open=False)
    elif cause == "restarted":
        gate.restart()
    elif cause == "refused by the core":
        gate.admit(unit(DELTA), is_open=True)
        gate.refused()
    else:
        with pytest.raises(InvalidConfig, match="size must not change"):
            gate.admit(unit(DELTA, width=640), is_open=True)
    for _ in range(2):
        passage = gate.admit(unit(DELTA), is_open=True)
        assert (passage.data, passage.wants_key_frame) == (None, True)
    assert sent(gate.admit(unit(IDR), is_open=True)) == [7, 8, 5]
    assert sent(gate.admit(unit(DELTA), is_open=True)) == [1]


KINDS = {
    "key": (SPS, PPS, IDR),
    "bare key": (IDR,),
    "delta": (DELTA,),
    "sets": (SPS, PPS),
    "new SPS": (SPS + b"2", DELTA),
}


@pytest.mark.parametrize("seed", range(200))
def test_gate_when_anything_happens_in_any_order_keeps_its_promises(gate: H264Gate, seed: int) -> None:
    """A decoder that joined at any passed key frame could follow; every unit is sent, dropped or refused."""
    chance = random.Random(seed)
    is_open, chain_is_whole = True, False
    given = passed = raised = 0
    for _ in range(100):
        act = chance.choice([*KINDS, *KINDS, "mute", "open", "restart", "refuse", "bad"])
        if act in ("mute", "open"):
            is_open = act == "open"
        elif act == "restart":
            gate.restart()
            chain_is_whole = False
        elif act == "refuse":
            if chain_is_whole:  # a unit passed, and the core did not take it
                gate.refused()
                passed -= 1
                chain_is_whole = False
        elif act == "bad":
            given, raised, chain_is_whole = given + 1, raised + 1, False
            with pytest.raises(InvalidConfig):
                gate.admit(unit(DELTA, codec="vp8"), is_open=is_open)
        else:
            frame = unit(*KINDS[act])
            passage = gate.admit(frame, is_open=is_open)
            given += 1
            is_key = IDR_TYPE in units_of(bytes(frame.data))
            assert passage.is_key == is_key
            assert passage.wants_key_frame == (is_open and not chain_is_whole and not is_key)
            if passage.data is None:
                assert not (is_open and chain_is_whole), "a unit of a whole chain is never dropped"
                chain_is_whole = False
                continue
            passed += 1
            assert is_open
            assert chain_is_whole or is_key, "a chain begins with a key frame"
            assert passage.data.endswith(bytes(frame.data)), "the camera's bytes are not touched"
            if is_key:
                assert {SPS_TYPE, PPS_TYPE} <= set(units_of(passage.data)[:2])
            chain_is_whole = True
    assert given == passed + gate.dropped + raised


def test_gate_when_given_a_real_encoder_lets_all_of_it_pass(gate: H264Gate) -> None:
    """libx264 makes no unit that the gate would hold."""
    frames = collect(H264Camera(WIDTH, HEIGHT, 30), 10)
    assert [gate.admit(frame, is_open=True).data for frame in frames] == [
        bytes(frame.data) for frame in frames
    ]
    assert gate.dropped == 0


def test_nal_units_when_start_codes_differ_are_all_found() -> None:
    """Three and four bytes, also mixed."""
    assert units_of(START + SPS + SHORT + PPS + START + IDR) == [7, 8, 5]


def test_nal_units_when_cut_out_keep_their_start_code() -> None:
    """So that cached parameter sets can be put in front as they are."""
    data = START + SPS + SHORT + PPS + START + IDR
    assert [data[start:end] for _, start, end in nal_units(data)] == [START + SPS, SHORT + PPS, START + IDR]


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00\x00\x01", b"no start code", b"\x00\x00\x00\x00"])
def test_nal_units_when_there_are_none_is_empty(data: bytes) -> None:
    """Nothing raises on rubbish."""
    assert nal_units(data) == []


def test_nal_units_when_given_a_real_encoder_reads_it() -> None:
    """libx264: parameter sets and an IDR first, then deltas."""
    first, *rest = collect(H264Camera(320, 240, 30), 4)
    assert {7, 8, 5} <= set(units_of(bytes(first.data)))
    assert all(5 not in units_of(bytes(unit.data)) for unit in rest)
