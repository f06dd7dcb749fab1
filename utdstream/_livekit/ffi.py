"""The private pieces of livekit that the direct way of sound stands on. Nothing else of the SDK touches them.

Owns: `DirectCore`, one a process: the function that the core calls with its events, and the core's request
function, both past asyncio; `DirectSource` and `DirectStream`, one native source and one stream seen through it.
Made for livekit 1.2.1 alone: `open_direct_core` tries them out first; if anything differs there is no direct way.

Threads: the core calls back on threads of its own, several at once, one a stream and one for all sources. What
runs there is short, never raises and waits for nothing.

1. What is not ours is handed on to livekit's own callback, as it came.
2. A request copies its buffer before it returns (livekit-ffi, audio_source.rs): one buffer serves a source's life.
3. A native frame belongs to whoever got it: its handle is dropped when it was copied, also when nobody wants it.
4. A handle that is dropped is not used again: the lock of a capture is held across its request.
5. Both calls let the interpreter go (`ctypes.CDLL`). Holding it would save a wait beside a busy program, and could
   deadlock with a native thread that needs it while it has what the request waits for.
"""

from __future__ import annotations

import ctypes
import itertools
import logging
import os
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Any, ClassVar

from livekit import rtc
from livekit.rtc._ffi_client import INVALID_HANDLE, FfiClient, FfiHandle, ffi_cb_fnc, ffi_event_callback
from livekit.rtc._proto.audio_frame_pb2 import AudioStreamEvent, AudioStreamType
from livekit.rtc._proto.ffi_pb2 import FfiEvent, FfiRequest
from livekit.rtc.version import __version__ as livekit_version

from utdstream.media import BYTES_PER_SAMPLE, Buffer, PcmFormat

_log = logging.getLogger(__name__)

MADE_FOR = "1.2.1"
SELF_TEST_S = 2.0
MOST_UNANSWERED = 20
"""Frames on their way into the core: 200 ms. More are refused, as the core's own queue of them has no bound."""
_FIRST_ID = 1 << 62
"""The core counts its own request ids from 1."""

_from_core = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t)
_to_python = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t)


def _first_byte(kind: str) -> int:
    """Returns the byte with which an event of this kind begins: the protobuf tag of its only field."""
    number = FfiEvent.DESCRIPTOR.fields_by_name[kind].number
    assert number < 16, "its tag is one byte"
    return number << 3 | 2


def _taken(number: int) -> bytes:
    """Returns the event that says that a frame of this source was taken."""
    event = FfiEvent()
    event.capture_audio_frame.async_id = number
    return event.SerializeToString()


class DirectCore:
    """The native core without asyncio. Raises in its making: whatever a livekit of another shape raises."""

    _installed: ClassVar[Any] = ffi_event_callback
    """What the core calls now."""

    def __init__(self) -> None:
        self._client = FfiClient.instance
        self._pid = os.getpid()
        library = self._client._ffi_lib
        self._send = library.livekit_ffi_request
        self._drop = library.livekit_ffi_drop_handle
        self._lock = threading.Lock()  # the table of streams; taken on the core's threads and the loop
        self._receivers: dict[int, DirectStream] = {}
        self._opening = 0
        self._early: list[AudioStreamEvent] = []
        """What came while a stream was being opened whose handle is not known yet."""
        self._captures: dict[int, DirectSource] = {}
        self._answers: dict[bytes, DirectSource] = {}
        """By the event that says that a frame was taken, which is the same for each frame of a source."""
        self._ids = itertools.count(_FIRST_ID)
        self._known_threads: set[int] = set()
        self._sound, self._answer = _first_byte("audio_stream_event"), _first_byte("capture_audio_frame")
        self._before = self._installed
        self._pass_on = ctypes.cast(self._before, _to_python)
        self._callback = _from_core(self._called)
        self._install(ctypes.cast(self._callback, ffi_cb_fnc))

    def _install(self, callback: Any) -> None:
        """Has the core call `callback`, in the place of what it called before."""
        self._client._ffi_lib.livekit_ffi_initialize(callback, True, b"python", livekit_version.encode())
        DirectCore._installed = callback

    def leave(self) -> None:
        """Has the core call what it called before."""
        self._install(self._before)

    # -- the core's threads ----------------------------------------------------------------------

    def _called(self, address: int, size: int) -> None:
        try:
            if self._take(ctypes.string_at(address, size)):
                self._stay()
                return
        except Exception:  # noqa: BLE001 - the thread's outermost frame
            _log.exception("an event of sound could not be read")
        self._pass_on(address, size)

    def _stay(self) -> None:
        """Lets Python keep its state of this thread: else one is made and thrown away for each event (20 us).

        These few threads live as long as the process, and are told nothing more once the core is disposed.
        """
        thread = threading.get_ident()
        if thread not in self._known_threads:
            self._known_threads.add(thread)
            ctypes.pythonapi.PyGILState_Ensure()

    def _take(self, event: bytes) -> bool:
        """Takes an event of sound, if it is one of ours."""
        capture = self._answers.get(event)
        if capture is not None:
            capture.answered("")
            return True
        if event[0] == self._sound:
            return self._take_sound(FfiEvent.FromString(event).audio_stream_event)
        if event[0] == self._answer:
            answer = FfiEvent.FromString(event).capture_audio_frame
            capture = self._captures.get(answer.async_id)
            if capture is not None:
                capture.answered(answer.error)
            return answer.async_id >= _FIRST_ID
        return False

    def _take_sound(self, event: AudioStreamEvent) -> bool:
        with self._lock:
            receiver = self._receivers.get(event.stream_handle)
            if receiver is None:
                if self._opening:
                    self._early.append(event)
                return False  # of a public stream, most likely
        receiver.take(event)
        return True

    # -- requests, any thread --------------------------------------------------------------------

    @property
    def is_gone(self) -> bool:
        """The core was disposed at interpreter exit, or this is a child that was forked."""
        return FfiClient._ffi_disposed or os.getpid() != self._pid

    def send(self, arguments: tuple[Any, ...]) -> bool:
        """Makes one request and frees its answer. False when it was refused."""
        handle = self._send(*arguments)
        if handle == INVALID_HANDLE:
            return False
        self._drop(handle)
        return True

    def drop(self, handle: int) -> None:
        """Frees what the core handed out."""
        if handle != INVALID_HANDLE and not self.is_gone:
            self._drop(handle)

    def enter(self, capture: DirectSource) -> int:
        """Returns the id under which the answers to `capture` come."""
        number = next(self._ids)
        self._captures[number] = capture
        self._answers[_taken(number)] = capture
        return number

    def forget(self, number: int) -> None:
        """Ends what `enter` began."""
        self._captures.pop(number, None)
        self._answers.pop(_taken(number), None)

    def open_stream(self, track: rtc.Track, pcm: PcmFormat, receiver: DirectStream) -> FfiHandle:
        """Opens a stream of the track's sound into `receiver`; dropping the handle ends it, with a last event."""
        request = FfiRequest()
        asked = request.new_audio_stream
        asked.track_handle = track._ffi_handle.handle
        asked.sample_rate = pcm.sample_rate_hz
        asked.num_channels = pcm.channels
        asked.queue_size_frames = 0
        asked.type = AudioStreamType.AUDIO_STREAM_NATIVE
        with self._lock:
            self._opening += 1
        number = INVALID_HANDLE
        try:
            number = self._client.request(request).new_audio_stream.stream.handle.id
            return FfiHandle(number)
        finally:
            self._opened(number, receiver)

    def _opened(self, number: int, receiver: DirectStream) -> None:
        with self._lock:  # throughout: what comes now waits until what came early was taken
            self._opening -= 1
            early = [event for event in self._early if event.stream_handle == number]
            if not self._opening:
                self._early.clear()
            if number != INVALID_HANDLE:
                self._receivers[number] = receiver
                for event in early:
                    receiver.take(event)

    def closed(self, number: int) -> None:
        """Forgets a stream that has told its end."""
        self._receivers.pop(number, None)

    def try_out(self, loop: AbstractEventLoop) -> None:
        """Sends and receives 10 ms for nobody. Blocks: SELF_TEST_S. Raises: AssertionError."""
        pcm = PcmFormat(48_000, 1)
        source = rtc.AudioSource(pcm.sample_rate_hz, pcm.channels, queue_size_ms=0, loop=loop)
        answered = threading.Event()
        refusals: list[str] = []

        def take(error: str) -> None:
            refusals.append(error)
            answered.set()

        capture = DirectSource(self, source, pcm, take)
        try:
            assert capture.push(bytes(pcm.frame_bytes)), "a frame of sound was refused"
            assert answered.wait(SELF_TEST_S), "a frame of sound was not answered"
            assert refusals == [""], f"a frame of sound was refused: {refusals[0]}"
        finally:
            capture.close()
            source._ffi_handle.dispose()
        self._try_receiver(pcm)

    def _try_receiver(self, pcm: PcmFormat) -> None:
        sound = bytes(range(256)) * (pcm.frame_bytes // 256) + bytes(pcm.frame_bytes % 256)
        buffer = ctypes.create_string_buffer(sound, len(sound))
        event = FfiEvent()
        event.audio_stream_event.stream_handle = number = next(self._ids)
        event.audio_stream_event.frame_received.frame.handle.id = INVALID_HANDLE
        info = event.audio_stream_event.frame_received.frame.info
        info.data_ptr = ctypes.addressof(buffer)
        info.num_channels, info.sample_rate = pcm.channels, pcm.sample_rate_hz
        info.samples_per_channel = pcm.samples_per_frame
        heard: list[Buffer] = []
        with self._lock:
            self._receivers[number] = DirectStream(self, heard.append, lambda: None)
        assert self._take(event.SerializeToString()), "a frame of sound was not known"
        self.closed(number)
        assert heard == [sound], "a frame of sound was not received as it was sent"


def _nobody(error: str) -> None:
    """Hears the core's word on a frame whose microphone is gone."""


class DirectSource:
    """One native source as a microphone's thread feeds it. `answered` with the core's word on each frame."""

    def __init__(
        self, core: DirectCore, source: rtc.AudioSource, pcm: PcmFormat, answered: Callable[[str], None]
    ) -> None:
        """`answered` is called on the core's thread: with an empty string when the frame was taken."""
        self._core = core
        self._source = source  # whose handle lives as long as this
        self._tell = answered
        self._lock = threading.Lock()  # one frame at a time; `close` waits for it
        self._closed = False
        self._pushed = 0
        self._answers = 0
        self._number = core.enter(self)
        buffer = (ctypes.c_char * pcm.frame_bytes)()
        self._buffer = memoryview(buffer).cast("B")
        request = FfiRequest()
        asked = request.capture_audio_frame
        asked.source_handle = source._ffi_handle.handle
        asked.request_async_id = self._number
        asked.buffer.data_ptr = ctypes.addressof(buffer)
        asked.buffer.sample_rate = pcm.sample_rate_hz
        asked.buffer.num_channels = pcm.channels
        asked.buffer.samples_per_channel = pcm.samples_per_frame
        text = request.SerializeToString()
        self._request = (ctypes.c_ubyte * len(text)).from_buffer_copy(text)
        self._arguments = (
            self._request,
            len(text),
            ctypes.byref(ctypes.POINTER(ctypes.c_ubyte)()),
            ctypes.byref(ctypes.c_size_t()),
        )

    def push(self, pcm: Buffer) -> bool:
        """Hands exactly 10 ms to the core, which copies them. Any thread; False when it takes no more now."""
        with self._lock:
            if self._closed or self._core.is_gone or self._pushed - self._answers >= MOST_UNANSWERED:
                return False
            self._buffer[:] = memoryview(pcm).cast("B")
            self._pushed += 1
            if self._core.send(self._arguments):
                return True
            self._pushed -= 1
            return False

    def answered(self, error: str) -> None:
        """Takes the core's word on one frame. Thread: the core's."""
        self._answers += 1
        self._tell(error)

    def close(self) -> None:
        """Sends nothing more; after it the source may go. Waits for one request at most."""
        with self._lock:
            self._closed = True
        self._tell = _nobody
        self._core.forget(self._number)


class DirectStream:
    """One native stream's frames, to `push`, until `close`; `ended` is called with its last event."""

    def __init__(self, core: DirectCore, push: Callable[[Buffer], None], ended: Callable[[], None]) -> None:
        """Both are called on the core's threads."""
        self._core = core
        self._push: Callable[[Buffer], None] | None = push
        self._ended = ended

    def take(self, event: AudioStreamEvent) -> None:
        """Takes one event of this stream. Thread: the core's."""
        if event.HasField("frame_received"):
            frame = event.frame_received.frame
            push = self._push
            try:
                if push is not None:
                    info = frame.info
                    size = info.num_channels * info.samples_per_channel * BYTES_PER_SAMPLE
                    push(ctypes.string_at(info.data_ptr, size))
            finally:
                self._core.drop(frame.handle.id)
        elif event.HasField("eos"):
            self._core.closed(event.stream_handle)
            self._ended()

    def close(self) -> None:
        """Pushes nothing more; what still comes is freed."""
        self._push = None


def open_direct_core(loop: AbstractEventLoop) -> DirectCore | None:
    """Returns the core as the direct way needs it, tried out; None, said in the log, when it cannot be used.

    Blocks: some milliseconds, SELF_TEST_S when something is wrong. Not on the loop.
    """
    if livekit_version != MADE_FOR:
        _say_no(f"it was made for livekit {MADE_FOR}, and this is {livekit_version}")
        return None
    core: DirectCore | None = None
    try:
        core = DirectCore()
        core.try_out(loop)
    except Exception as error:  # noqa: BLE001 - another livekit may raise anything
        if core is not None:
            core.leave()
        _say_no(f"its test at the start failed ({error!r})")
        return None
    return core


def _say_no(reason: str) -> None:
    _log.warning("the direct way of sound is not used: %s; sound takes LiveKit's public one", reason)
