"""The names of the Flutter package and ours: 57, in the order of its reference.

Owns: the table. Whether a Python name is there is looked up in the code (`exists`), not written down.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from importlib import import_module
from pathlib import Path

_S, _C, _L, _A, _R = "UTDSession", "UTDCallSession", "UTDLiveStreamSession", "UTDAudioRoomSession", "UTDRoom"

NAMES: dict[str, list[tuple[str, str]]] = {
    "Client (`UTDStreamClient`)": [
        ("UTDStreamClient(appId, appKey, baseUrl, tokenBaseUrl)", "UTDStreamClient"),
        ("identity", "UTDStreamClient.identity"),
        ("authenticate(identity, name, deviceId)", "UTDStreamClient.authenticate"),
        ("callSession(type)", "UTDStreamClient.call_session"),
        ("joinLiveStream(…)", "UTDStreamClient.join_live_stream"),
        ("joinAudioRoom(…)", "UTDStreamClient.join_audio_room"),
        ("dispose()", "UTDStreamClient.dispose"),
    ],
    "Session (`UTDSession`)": [
        ("type", f"{_S}.type"),
        ("room", f"{_S}.room"),
        ("connected", f"{_S}.connected"),
        ("canPublish", f"{_S}.can_publish"),
        ("remoteParticipants", f"{_S}.remote_participants"),
        ("events", f"{_S}.events"),
        ("localParticipant", f"{_S}.local_participant"),
        ("setMicrophone(enabled)", f"{_S}.set_microphone"),
        ("sendData(data, reliable, to)", f"{_S}.send_data"),
        ("leave()", f"{_S}.leave"),
        ("dispose()", f"{_S}.dispose"),
    ],
    "Call (`UTDCallSession`)": [
        ("status", f"{_C}.status"),
        ("callId", f"{_C}.call_id"),
        ("start(calleeIdentity, calleeName, metadata)", f"{_C}.start"),
        ("accept(id)", f"{_C}.accept"),
        ("ringing(id)", f"{_C}.ringing"),
        ("reject(id)", f"{_C}.reject"),
        ("busy(id)", f"{_C}.busy"),
        ("end()", f"{_C}.end"),
    ],
    "Live stream (`UTDLiveStreamSession`)": [
        ("roomName", f"{_L}.room_name"),
        ("isHost", f"{_L}.is_host"),
        ("stage", f"{_L}.stage"),
        ("goLive(withVideo)", f"{_L}.go_live"),
        ("refreshStage()", f"{_L}.refresh_stage"),
        ("inviteToStage(identity)", f"{_L}.invite_to_stage"),
        ("removeFromStage(identity)", f"{_L}.remove_from_stage"),
        ("requestStage()", f"{_L}.request_stage"),
        ("leaveStage()", f"{_L}.leave_stage"),
    ],
    "Audio room (`UTDAudioRoomSession`)": [
        ("roomName", f"{_A}.room_name"),
        ("isHost", f"{_A}.is_host"),
        ("setupSeats(seatCount, seatMode, modeId)", f"{_A}.setup_seats"),
        ("getSeats()", f"{_A}.get_seats"),
        ("takeSeat(index)", f"{_A}.take_seat"),
        ("leaveSeat()", f"{_A}.leave_seat"),
        ("requestToSpeak()", f"{_A}.request_to_speak"),
        ("approveSpeaker(requestId)", f"{_A}.approve_speaker"),
        ("inviteToSpeak(identity, seatIndex)", f"{_A}.invite_to_speak"),
    ],
    "Room (`UTDRoom`)": [
        ("UTDRoom(adaptiveStream, dynacast)", _R),
        ("room", f"{_R}.room"),
        ("events", f"{_R}.events"),
        ("connect(url, token, autoSubscribe)", f"{_R}.connect"),
        ("setMicrophone(enabled)", f"{_R}.set_microphone"),
        ("setCamera(enabled)", f"{_R}.set_camera"),
        ("sendData(data, reliable, destinationIdentities)", f"{_R}.send_data"),
    ],
    "Models": [
        ("UTDStreamType", "UTDStreamType"),
        ("UTDCallStatus", "UTDCallStatus"),
        ("UTDTokenResponse", "UTDTokenResponse"),
        ("UTDCall", "UTDCall"),
        ("UTDStageMember", "UTDStageMember"),
        ("UTDStreamException", "UTDStreamException"),
    ],
}


def exists(name: str) -> bool:
    """Whether `Class` or `Class.member` is a public name of the package now."""
    kind, _, member = name.partition(".")
    package = import_module("utdstream")
    if kind not in package.__all__:
        return False
    owner = getattr(package, kind)
    return not member or hasattr(owner, member) or any(member in _assigned(base) for base in owner.__mro__)


def _assigned(kind: type) -> set[str]:
    """The attributes that a class's constructor makes."""
    init = vars(kind).get("__init__")
    if not inspect.isfunction(init):
        return set()
    tree = ast.parse(textwrap.dedent(inspect.getsource(init)))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }


def tests() -> dict[str, str]:
    """The test that asserts each name, by the names in its `@pytest.mark.seed(...)`."""
    found: dict[str, str] = {}
    source = Path(__file__).resolve().parent.parent / "tests" / "integration" / "test_seed_page.py"
    for node in ast.parse(source.read_text()).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.seed":
                found.update({ast.literal_eval(name): node.name for name in mark.args})
    return found
