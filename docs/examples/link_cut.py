"""A test of your own: the door's media link is cut in the middle of a call, and the call goes on behind it."""

from utdstream import Devices, UTDStreamClient, UTDStreamType
from utdstream.synthetic import NullSpeaker, ToneMicrophone
from utdstream.testing import Faults, LocalStack


def signed_in(stack: LocalStack, identity: str) -> UTDStreamClient:
    devices = Devices(microphone=ToneMicrophone(), speaker=NullSpeaker())
    client = UTDStreamClient(stack.app_id, stack.app_key, base_url=stack.base_url, devices=devices)
    client.authenticate(identity=identity)
    return client


def test_call_goes_on_behind_a_cut() -> None:
    with (
        Faults(LocalStack()) as faults,
        signed_in(faults.stack, "door") as door,
        signed_in(faults.stack, "house") as house,
    ):
        inbox = house.incoming_calls()
        call = door.call_session(UTDStreamType.AUDIO_CALL)
        call.start(callee_identity="house")
        inbox.ringing.wait(timeout=10).accept()
        call.wait_for_answer(timeout=10)
        with faults.cut("media", only="door"):
            pass  # whatever your program does meanwhile
        call.connected.wait_for(True, timeout=20)
        call.end()


if __name__ == "__main__":
    test_call_goes_on_behind_a_cut()
    print("the call went on")
