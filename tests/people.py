"""People for call tests: signed-in clients with synthetic devices and identities of their own."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from utdstream import (
    CallbackError,
    ClientConfig,
    Devices,
    IncomingCallInbox,
    UTDCallSession,
    UTDStreamClient,
    UTDStreamType,
)
from utdstream.synthetic import NullSpeaker, PatternCamera, ToneMicrophone
from utdstream.testing import LocalStack

_numbers = itertools.count(1)


def small_devices(tone_hz: float = 1000.0) -> Devices:
    """A tone, silence for ears, a small picture: cheap on two cores."""
    return Devices(
        microphone=ToneMicrophone(tone_hz), speaker=NullSpeaker(), camera=PatternCamera(320, 240, 15)
    )


@dataclass
class Person:
    """One signed-in client and what was reported to it."""

    identity: str
    client: UTDStreamClient
    errors: list[CallbackError]

    def call(self, kind: UTDStreamType = UTDStreamType.VIDEO_CALL) -> UTDCallSession:
        return self.client.call_session(kind)

    def inbox(self) -> IncomingCallInbox:
        """An inbox that listens already."""
        inbox = self.client.incoming_calls()
        inbox.connected.wait_for(True, timeout=10)
        return inbox


class People:
    """Makes people for one stack; all are disposed at the end."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack = stack
        self._made: list[UTDStreamClient] = []

    def __call__(
        self,
        name: str,
        devices: Devices | None = None,
        config: ClientConfig | None = None,
        *,
        base_url: str | None = None,
    ) -> Person:
        identity = f"{name}-{next(_numbers)}"
        client = UTDStreamClient(
            self.stack.app_id,
            self.stack.app_key,
            base_url=base_url or self.stack.base_url,
            devices=devices or small_devices(),
            config=config,
        )
        self._made.append(client)
        errors: list[CallbackError] = []
        client.errors.subscribe(errors.append)
        client.authenticate(identity=identity, name=name.title())
        return Person(identity, client, errors)

    def keep(self, client: UTDStreamClient) -> None:
        """Disposes this client at the end too."""
        self._made.append(client)

    def close(self) -> None:
        for client in self._made:
            client.dispose()


def statuses(session: UTDCallSession) -> list[str]:
    """The states a session goes through from now on, as a list that grows."""
    seen: list[str] = []
    session.status.subscribe(lambda change: seen.append(change.new.value) if change.new else None)
    return seen


Make = Callable[..., Person]
