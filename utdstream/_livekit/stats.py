"""The figures of one connection: our own counters, and the newest of WebRTC's. Thread: the loop.

With one peer connection everything is in the publisher's list, so both lists are searched.
"""

from __future__ import annotations

from livekit import rtc

from utdstream._livekit.publishing import Publisher
from utdstream._livekit.subscribing import Subscriber
from utdstream.models import SessionStats


def session_stats(
    stats: rtc.RtcStats, publisher: Publisher, subscriber: Subscriber, *, events_dropped: int
) -> SessionStats:
    """Makes one snapshot; fields that WebRTC did not tell are None."""
    round_trip_ms: float | None = None
    lost: int | None = None
    jitter_ms: float | None = None
    sent: int | None = None
    received: int | None = None
    for entry in (*stats.publisher_stats, *stats.subscriber_stats):
        kind = entry.WhichOneof("stats")
        if kind == "candidate_pair" and entry.candidate_pair.candidate_pair.nominated:
            pair = entry.candidate_pair.candidate_pair
            round_trip_ms = pair.current_round_trip_time * 1000
            sent = (sent or 0) + pair.bytes_sent
            received = (received or 0) + pair.bytes_received
        elif kind == "inbound_rtp":
            flow = entry.inbound_rtp.received
            lost = (lost or 0) + int(flow.packets_lost)
            jitter_ms = max(jitter_ms or 0.0, flow.jitter * 1000)
    return SessionStats(
        audio_frames_sent=publisher.microphone.sent,
        audio_frames_dropped=publisher.microphone.dropped,
        video_frames_sent=publisher.camera.sent,
        video_frames_dropped=publisher.camera.dropped,
        video_frames_received=subscriber.video_frames_received,
        playout_underruns=subscriber.underruns,
        round_trip_time_ms=round_trip_ms,
        packets_lost=lost,
        jitter_ms=jitter_ms,
        bytes_sent=sent,
        bytes_received=received,
        events_dropped=events_dropped,
        video_watched=publisher.camera.watched,
    )
