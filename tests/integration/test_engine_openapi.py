"""What the OpenAPI document promises is what the engine does, whatever is sent to it (schemathesis)."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import requests
from engine_site import Site
from servers import every_refusal_is_declared

from utdstream._wire import routes
from utdstream.engine.api.openapi import document
from utdstream.testing import LocalStack

schemathesis = pytest.importorskip("schemathesis", reason="pip install schemathesis, or -e '.[dev]'")

from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from hypothesis import strategies as some  # noqa: E402
from hypothesis.errors import Unsatisfiable  # noqa: E402
from schemathesis import GenerationMode  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.core.failures import FailureGroup  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

pytestmark = [pytest.mark.integration, pytest.mark.slow]

CASES = int(os.environ.get("UTD_FUZZ_CASES", "1000"))
"""In all; `make fuzz` sends 5,000."""
HANGS_AFTER_S = 10.0
ENDLESS = "call_events"
PROMISES = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
PEOPLE = ("ann", "bob", "cid")
ROOMS = ("lobby", "show")
_CREDENTIALS = {
    name.lower()
    for name in ("Authorization", routes.HEADER_APP_ID, routes.HEADER_APP_KEY, routes.HEADER_APP_SECRET)
}


@pytest.fixture(scope="module")
def fuzzed_stack(programs: None) -> Iterator[LocalStack]:
    """A stack with two rooms, whose host is ann; what is sent to it hurts nobody else's tests."""
    with LocalStack(project={"max_concurrent_rooms": 100_000, "call_ring_timeout_s": 600.0}) as stack:
        site = Site(stack)
        for room, kind in zip(ROOMS, ("audio_room", "live_stream"), strict=True):
            for who in PEOPLE:
                role = {"role": "host"} if who == "ann" else {}
                body = {"identity": who, "room_name": room, "type": kind, **role}
                assert site.server().ask("POST", routes.TOKEN, body).status_code == 200
        site.close()
        yield stack
        every_refusal_is_declared(stack)


class Fuzz:
    """Sends cases of the document with one credential, and keeps what was not as promised."""

    def __init__(self, stack: LocalStack, headers: Mapping[str, str], call_id: str) -> None:
        self._base_url = stack.base_url
        self._headers = {routes.HEADER_APP_ID: stack.app_id, **headers}
        self._call_id = call_id
        self._session = requests.Session()
        self.cases = 0
        self.statuses: Counter[int] = Counter()
        self.worked: set[str] = set()
        self.failures: list[str] = []

    def run(self, operation: Any, cases: int) -> None:
        """Cases that fit the schema, and a fifth as many that do not."""
        for mode, number in (
            (GenerationMode.POSITIVE, cases - cases // 5),
            (GenerationMode.NEGATIVE, cases // 5),
        ):
            try:
                self._run(operation, mode, number)
            except Unsatisfiable:
                continue  # an operation without parameters: nothing about it can be wrong
            except (AssertionError, FailureGroup, requests.RequestException) as failure:
                self.failures.append(f"{operation.label}: {failure!r:.1500}")

    def _run(self, operation: Any, mode: GenerationMode, number: int) -> None:
        @settings(
            max_examples=number,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode), seed=some.integers(0, 2**32))
        def one(case: Any, seed: int) -> None:
            self._aim(case, random.Random(seed))
            self._send(case, str(operation.label))

        one()

    def _aim(self, case: Any, dice: random.Random) -> None:
        """Often what exists is meant, so that not everything ends as "not found"."""
        for name in [name for name in case.headers or {} if name.lower() in _CREDENTIALS]:
            del case.headers[name]
        known = {
            "room": dice.choice(ROOMS),
            "identity": dice.choice(PEOPLE),
            "call_id": self._call_id,
            "index": str(dice.randrange(9)),
            "request_id": "1",
            "invitation_id": "1",
            "key_id": "key_1",
            "pairing_id": "0123456789abcdef",
        }
        is_fatal = case.operation.label in ("DELETE /api/v1/rooms/{room}", "POST /api/v1/rooms/ban")
        for name in case.path_parameters or {}:
            if dice.random() < 0.8 and not is_fatal:
                case.path_parameters[name] = known[name]
        if not isinstance(case.body, dict) or is_fatal:
            return
        for name, value in case.body.items():
            if name.endswith("identity") and isinstance(value, str) and dice.random() < 0.7:
                case.body[name] = dice.choice(PEOPLE)
        if "Authorization" in self._headers and dice.random() < 0.8:
            for name in ("identity", "actor_identity", "caller_identity"):
                if name in case.body and case.operation.path not in (routes.TOKEN, routes.AUTH_SESSION):
                    case.body[name] = "ann"

    def _send(self, case: Any, label: str) -> None:
        response = case.call(
            base_url=self._base_url, headers=self._headers, session=self._session, timeout=HANGS_AFTER_S
        )
        self.cases += 1
        self.statuses[response.status_code] += 1
        if response.status_code in (200, 201):
            self.worked.add(label)
        case.validate_response(response, checks=PROMISES)

    def close(self) -> None:
        self._session.close()


@pytest.mark.parametrize("credential", ["secret", "user token"])
@pytest.mark.timeout(400)
def test_engine_when_fuzzed_keeps_what_its_document_promises(
    fuzzed_stack: LocalStack, credential: str
) -> None:
    """No 5xx, no answer outside of its schema, no hang."""
    site = Site(fuzzed_stack)
    ann = site.person("ann")
    callee = f"callee-of-{credential.replace(' ', '-')}"
    call_id = ann.call(callee).call_id
    secret = {routes.HEADER_APP_SECRET: fuzzed_stack.app_secret}
    user = {**ann.headers, routes.HEADER_APP_KEY: fuzzed_stack.app_key}  # the key is for the mints
    fuzz = Fuzz(fuzzed_stack, secret if credential == "secret" else user, call_id)
    schema = schemathesis.openapi.from_dict(document())
    operations = [
        operation
        for operation in (result.ok() for result in schema.get_all_operations())
        if operation.definition.raw["operationId"] != ENDLESS
    ]
    try:
        while fuzz.cases < CASES // 2 and not fuzz.failures:
            each = max(5, (CASES // 2 - fuzz.cases) // len(operations) + 1)
            for operation in operations:
                fuzz.run(operation, each)
    finally:
        fuzz.close()
        site.close()
    print(f"{fuzz.cases} cases, {dict(fuzz.statuses)}, {len(fuzz.worked)} of {len(operations)} worked")  # noqa: T201
    print(sorted({operation.label for operation in operations} - fuzz.worked))  # noqa: T201
    assert not fuzz.failures, "\n\n".join(fuzz.failures)
    assert fuzz.cases >= CASES // 2
    assert len(fuzz.worked) >= len(operations) // 3, "too few operations ever worked"
