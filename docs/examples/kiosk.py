"""A kiosk: sits on its seat of the lobby, plays what is said there, counts what it hears."""

import os
import sys
import time

from utdstream import Change, Devices, SeatGrid, UTDStreamClient, UTDStreamException
from utdstream.synthetic import RecordingSpeaker, ToneMicrophone

LISTEN_S = float(os.environ.get("LISTEN_S", "60"))

devices = Devices(microphone=ToneMicrophone(440), speaker=RecordingSpeaker("lobby.wav"))


def show(change: Change[SeatGrid]) -> None:
    print("on the seats:", [seat.identity or "-" for seat in change.new.seats])


try:
    with (
        UTDStreamClient.from_environment(devices=devices) as client,
        client.join_audio_room(identity="kiosk", room_name="lobby", as_host=True, seat_count=4) as room,
    ):
        room.seats.subscribe(show)
        room.take_seat(3)  # returns when the microphone is on air
        until = time.monotonic() + LISTEN_S
        loud = 0
        for frame in room.audio_frames():  # 10 ms each, everyone mixed, silence when nobody speaks
            loud += any(frame.data)
            if time.monotonic() > until:
                break
        room.leave_seat()
        print(f"heard {loud / 100:.1f} s of sound")
except UTDStreamException as error:
    sys.exit(str(error))  # one sentence: what was found, what to do
