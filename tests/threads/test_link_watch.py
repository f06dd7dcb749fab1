"""The watch over a link: what it tells, and when it gives a connection up."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from facts import eventually
from livekit import rtc
from livekit.rtc._proto import stats_pb2

from utdstream._livekit import hearing, link
from utdstream._livekit.link import LinkWatch
from utdstream._livekit.loop import loop_thread
from utdstream._livekit.signal_socket import SignalSocket
from utdstream._threads.deadline import Deadline


class MediaServer:
    """A port that answers, or does not; and a room of the core whose packets come, or do not."""

    def __init__(self) -> None:
        self.is_open = True
        self.sends = True
        self.sends_media = True
        self.sends_key_frames = True
        self.packets = 0
        self.figures_after_s = 0.0
        self.loses_an_answer = False
        self.asked = 0
        self.knocks = 0
        self._ear = socket.create_server(("127.0.0.1", 0))
        self.address = self._ear.getsockname()
        self.url = f"ws://127.0.0.1:{self.address[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                caller = self._ear.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._answer, args=(caller,), daemon=True).start()

    def _answer(self, caller: socket.socket) -> None:
        with caller, contextlib.suppress(OSError):
            if self.is_open and caller.recv(100):
                caller.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
            self.knocks += 1

    async def get_rtc_stats(self) -> rtc.RtcStats:
        if self.loses_an_answer:
            self.loses_an_answer = False
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(self.figures_after_s)
        self.asked += 1
        self.packets += 50 if self.sends else 0
        figures = stats_pb2.RtcStats()
        pair = figures.candidate_pair.candidate_pair
        pair.nominated = True
        pair.packets_received = self.packets
        now = time.time()
        figures.candidate_pair.rtc.timestamp = int(now * 1e6)
        pair.last_packet_received_timestamp = now * 1e3 - (0 if self.sends else 60_000)
        return rtc.RtcStats(publisher_stats=[figures, self._picture()], subscriber_stats=[])

    def _picture(self) -> stats_pb2.RtcStats:
        figures = stats_pb2.RtcStats()
        figures.inbound_rtp.stream.kind = "video"
        figures.inbound_rtp.stream.ssrc = 1
        figures.inbound_rtp.received.packets_received = self.packets if self.sends_media else 1
        if self.sends_key_frames:
            figures.inbound_rtp.inbound.frames_decoded = self.packets
        return figures

    def close(self) -> None:
        self._ear.shutdown(socket.SHUT_RDWR)
        self._ear.close()
        self._thread.join(5)


class Watched:
    """A watch over it, and what it told."""

    def __init__(self, server: MediaServer, *, rejoins: bool) -> None:
        self.told: list[bool] = []
        self.silences: list[bool] = []
        self.expects_others = False
        self.given_up = 0
        self.refreshed = 0
        self._loop = loop_thread()
        self.watch = LinkWatch(
            self._loop,
            tell=self.told.append,
            others=self.silences.append,
            publishes=lambda: True,
            expects_others=lambda: self.expects_others,
            refresh=self._refresh,
            give_up=self._give_up if rejoins else None,
        )
        self.do(lambda: self.watch.start(server, server.url))  # type: ignore[arg-type]  # what it needs of a room

    def _refresh(self) -> None:
        self.refreshed += 1

    def _give_up(self) -> None:
        self.given_up += 1

    def do(self, what: object) -> None:
        assert callable(what)
        self._loop.call(what, deadline=Deadline(5.0, 5.0, "on the loop"))


@pytest.fixture
def server() -> Iterator[MediaServer]:
    """All is well."""
    made = MediaServer()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of all times."""
    for name in (
        "LOOK_S",
        "QUICK_S",
        "JUST_NOW_S",
        "FLOWING_S",
        "FEEDBACK_S",
        "BLOCKED_S",
        "MENDS_ITSELF_S",
        "REFRESH_S",
        "PEER_SILENT_S",
        "SIGNAL_AGAIN_S",
        "LOST_S",
    ):
        for module in (link, hearing):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, getattr(module, name) / 10)


@pytest.fixture
def watched(server: MediaServer) -> Iterator[Watched]:
    """Of a session that joins again."""
    made = Watched(server, rejoins=True)
    eventually(lambda: server.packets > 100, "it looks")
    yield made
    made.do(made.watch.stop)


def test_link_when_nothing_comes_and_nobody_answers_is_lost_until_something_comes(
    watched: Watched, server: MediaServer
) -> None:
    """A short loss: the connection is heard again, and is not given up."""
    server.sends = server.is_open = False
    eventually(lambda: watched.told == [False], "the loss is told")
    server.sends = True
    eventually(lambda: watched.told == [False, True], "the end of it is told")
    assert watched.given_up == 0


def test_link_when_the_core_never_answers_a_look_is_watched_on(watched: Watched, server: MediaServer) -> None:
    """As when it reconnects meanwhile. Late figures are no silence; lost ones are asked for again."""
    server.loses_an_answer = True
    eventually(lambda: not server.loses_an_answer, "an answer is lost")
    server.sends = server.is_open = False
    eventually(lambda: watched.told == [False], "the loss is told")


def test_link_when_a_look_at_it_failed_is_watched_on(
    watched: Watched, server: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong with some figures: without a watch the core alone would notice a loss, after 15 s."""
    broken = threading.Event()

    def breaks(stats: rtc.RtcStats) -> hearing.Figures:
        broken.set()
        raise ValueError("figures of another kind")

    monkeypatch.setattr(link, "figures", breaks)
    assert broken.wait(5)
    monkeypatch.setattr(link, "figures", hearing.figures)
    server.sends = server.is_open = False
    eventually(lambda: watched.told == [False], "the loss is told")


def test_link_when_the_figures_of_it_are_late_is_not_lost(
    watched: Watched, server: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is short of time: that nothing is known is no silence. Figures that say so are."""
    server.figures_after_s = 0.7  # more than a loss takes here
    monkeypatch.setattr(link, "FIGURES_S", 0.05)  # so that it looks often meanwhile
    asked = server.asked
    eventually(lambda: server.asked > asked + 3, "the figures come all the same", 15.0)
    assert (watched.told, watched.given_up) == ([], 0)
    server.figures_after_s = 0.0
    server.sends = server.is_open = False
    eventually(lambda: watched.told == [False], "the loss is told")


def test_link_when_the_media_server_was_gone_is_not_waited_for(
    watched: Watched, server: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that is there now knows nothing of this connection, however short the time between was."""
    monkeypatch.setattr(link, "MENDS_ITSELF_S", 3600.0)
    server.sends = server.is_open = False
    eventually(lambda: watched.told == [False], "the loss is told")
    assert watched.watch.door is not None
    watched.watch.door.was_refused = True
    server.is_open = True
    eventually(lambda: watched.given_up == 1, "it is given up")


def test_knock_when_nobody_listens_notes_that_it_was_refused(server: MediaServer) -> None:
    """A link that is cut refuses nothing."""
    door = link.Door(loop_thread(), server.url)
    server.is_open = False
    assert loop_thread().run(door.knock, deadline=Deadline(5.0, 5.0, "knocking")) is False
    assert not door.was_refused
    with socket.create_server(("127.0.0.1", 0)) as gone:
        door = link.Door(loop_thread(), f"ws://127.0.0.1:{gone.getsockname()[1]}")
    assert loop_thread().run(door.knock, deadline=Deadline(5.0, 5.0, "knocking")) is False
    assert door.was_refused


def test_link_when_it_is_there_again_and_the_connection_hears_nothing_is_given_up_once(
    watched: Watched, server: MediaServer
) -> None:
    """A new connection comes sooner."""
    server.sends = server.is_open = False
    eventually(lambda: watched.told == [False], "the loss is told")
    time_to_mend = server.packets
    server.is_open = True
    eventually(lambda: watched.given_up == 1, "it is given up")
    assert server.packets == time_to_mend
    assert watched.told == [False]


def test_link_when_media_alone_is_blocked_is_lost_too(watched: Watched, server: MediaServer) -> None:
    """The media server's door is open all the time."""
    server.sends = False
    eventually(lambda: watched.told == [False], "the loss is told")


def test_link_when_the_core_reconnects_by_itself_is_told_by_the_core_alone(
    watched: Watched, server: MediaServer
) -> None:
    """Twice the same interruption would be two for the program."""
    watched.do(lambda: watched.watch.core_reconnects(True))
    server.sends = server.is_open = False
    before = server.packets
    eventually(lambda: watched.watch._is_lost, "it is noticed")
    server.sends = True
    eventually(lambda: server.packets > before + 100, "it looks on")
    watched.do(lambda: watched.watch.core_reconnects(False))
    assert watched.told == []


def test_link_when_the_session_does_not_join_again_is_never_given_up(server: MediaServer) -> None:
    """A plain room is the program's: the core brings it back, or ends it."""
    plain = Watched(server, rejoins=False)
    eventually(lambda: server.packets > 100, "it looks")
    server.sends = False
    eventually(lambda: plain.told == [False], "the loss is told")
    server.sends = True
    eventually(lambda: plain.told == [False, True], "the end of it is told")
    plain.do(plain.watch.stop)


def test_others_when_they_only_say_that_they_are_there_are_not_silent_until_they_say_nothing(
    watched: Watched, server: MediaServer
) -> None:
    """A party that has muted all; the figures of the media server's own packets are no sign of it."""
    server.sends_media = False
    watched.expects_others = True
    eventually(lambda: watched.silences == [True], "they are silent")
    watched.do(watched.watch.others_heard)
    eventually(lambda: watched.silences == [True, False, True], "they spoke once")


class Signal:
    """A signal connection that is silent, or not."""

    def __init__(self) -> None:
        self.is_silent = False
        self.probes = self.hung_up = 0

    def find(self, port: int) -> None:
        """It is this one."""

    def silent_s(self) -> float:
        return 1.0 if self.is_silent else -1.0

    def probe(self) -> None:
        self.probes += 1

    def hang_up(self) -> None:
        self.hung_up += 1
        self.is_silent = False


def test_signal_when_it_is_silent_while_media_flows_is_hung_up_once_the_door_is_open(
    watched: Watched, server: MediaServer
) -> None:
    """Until then it is a loss too: what is said would not arrive."""
    signal = watched.watch._signal = Signal()  # type: ignore[assignment]  # all that a watch asks of one
    server.is_open = False
    signal.is_silent = True
    eventually(lambda: watched.told == [False], "the loss is told")
    assert signal.probes > 0
    assert signal.hung_up == 0
    server.is_open = True
    eventually(lambda: signal.hung_up == 1, "it is hung up")
    eventually(lambda: watched.told == [False, True], "the end of the loss is told")
    assert watched.given_up == 0


def test_picture_when_it_waits_for_a_key_frame_is_begun_anew_three_times_at_most(
    watched: Watched, server: MediaServer
) -> None:
    """Some cannot be decoded here at all."""
    assert watched.refreshed == 0
    server.sends_key_frames = False
    eventually(lambda: watched.refreshed == link.REFRESHES, "key frames are asked for")
    before = server.packets
    eventually(lambda: server.packets > before + 500, "it looks on")
    assert watched.refreshed == link.REFRESHES


def test_knock_when_a_frozen_process_accepts_and_says_nothing_is_not_answered() -> None:
    """The system accepts in its name."""
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        door = link.Door(loop_thread(), f"ws://127.0.0.1:{frozen.getsockname()[1]}")
        assert loop_thread().run(door.knock, deadline=Deadline(5.0, 5.0, "knocking")) is False


def test_knock_when_the_first_one_is_lost_is_answered_by_the_next(
    server: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sent while the link was cut is repeated by the kernel a second later only."""
    connect = asyncio.open_connection
    knocks: list[str] = []

    async def lost_at_first(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        knocks.append(host)
        if len(knocks) == 1:
            await asyncio.Event().wait()
        return await connect(host, port)

    monkeypatch.setattr(asyncio, "open_connection", lost_at_first)
    door = link.Door(loop_thread(), server.url)
    loop_thread().run(door.look_up, deadline=Deadline(5.0, 5.0, "looking up"))
    assert loop_thread().run(door.knock, deadline=Deadline(5.0, 5.0, "knocking")) is True
    assert len(knocks) == 2


@pytest.mark.parametrize("why", ["its address is not known", "it was shut for minutes"])
def test_knock_when_there_is_little_hope_is_one_alone(
    server: MediaServer, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """Looking up a name cannot be cut short; a router remembers each connection that nobody answered."""
    knocks: list[str] = []

    async def lost(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        knocks.append(host)
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(asyncio, "open_connection", lost)
    monkeypatch.setattr(link, "LONG_SHUT_S", 0.0)
    door = link.Door(loop_thread(), server.url)
    if why == "it was shut for minutes":
        loop_thread().run(door.look_up, deadline=Deadline(5.0, 5.0, "looking up"))
        assert loop_thread().run(door.knock, deadline=Deadline(5.0, 5.0, "knocking")) is False
        assert len(knocks) > 2
        knocks.clear()
    assert loop_thread().run(door.knock, deadline=Deadline(5.0, 5.0, "knocking")) is False
    assert len(knocks) <= 2


class Joining:
    """A join that is under way, and the signal connection that the core has made for it."""

    def __init__(self, server: MediaServer) -> None:
        self.broke: list[object] = []
        self._url = server.url
        self._watched = Watched(server, rejoins=False)
        self._watched.do(self._watched.watch.stop)
        self.signal = socket.create_connection(server.address)
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._watched.do(lambda: self._begin(self._url))

    def is_seen(self) -> bool:
        return bool(self._watched.watch._signal._mine)

    def _begin(self, url: str) -> None:
        self._task = loop_thread().spawn(self._watched.watch.join_broke(url))
        self._task.add_done_callback(self.broke.append)

    def close(self) -> None:
        assert self._task is not None
        self._watched.do(self._task.cancel)
        self.signal.close()


@pytest.fixture
def joining(server: MediaServer) -> Iterator[Joining]:
    """Its connection stands, and nobody watches yet."""
    made = Joining(server)
    yield made
    made.close()


def test_join_when_its_signal_connection_is_gone_and_the_door_is_open_is_broken(joining: Joining) -> None:
    """The core would say so after 15 s."""
    joining.begin()
    eventually(joining.is_seen, "the connection is seen")
    assert not joining.broke
    joining.signal.close()
    eventually(lambda: joining.broke, "it is told")


def test_join_when_its_signal_connection_is_gone_and_nobody_is_there_goes_on(
    joining: Joining, server: MediaServer
) -> None:
    """The link is cut: the core tries again by itself."""
    joining.begin()
    eventually(joining.is_seen, "the connection is seen")
    server.is_open = False
    joining.signal.close()
    eventually(lambda: server.knocks > 2 * link.NEVER_SEEN, "the door was knocked at often")
    assert not joining.broke


def test_join_when_its_signal_connection_was_gone_before_it_was_seen_is_broken(joining: Joining) -> None:
    """It lived for some milliseconds only."""
    joining.signal.close()
    joining.begin()
    eventually(lambda: joining.broke, "it is told")


def test_join_when_no_socket_can_be_seen_is_left_to_the_core(
    joining: Joining, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a system without /proc."""
    looks: list[None] = []

    def none_can_be_seen(_: object) -> bool:
        looks.append(None)
        return False

    monkeypatch.setattr(SignalSocket, "can_see", property(none_can_be_seen))
    joining.begin()
    eventually(lambda: len(looks) > 5, "it was looked for often")
    assert not joining.broke
