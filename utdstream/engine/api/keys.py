"""The handlers of app keys.

Owns: the fields of a new key, and the spelling of the answers. Runs on the loop thread. The rules are in
`rules/keys`, the effects in `flows/keys`.
"""

from __future__ import annotations

from collections.abc import Mapping

from utdstream._wire import answers
from utdstream.engine.api.fields import Fields, checked_identity, checked_text
from utdstream.engine.api.request import Answer, Ask, Handler
from utdstream.engine.flows.keys import KeyService
from utdstream.engine.rules import keys
from utdstream.engine.rules.keys import KeyTerms
from utdstream.engine.rules.refusals import invalid
from utdstream.limits import MAX_IDENTITY


class KeyHandlers:
    """Handlers of the operations on app keys; all of them are for a server with the app secret."""

    def __init__(self, service: KeyService) -> None:
        self._service = service

    def handlers(self) -> Mapping[str, Handler]:
        """Operation id to handler."""
        return {"add_key": self.add, "list_keys": self.list, "revoke_key": self.revoke}

    async def add(self, ask: Ask) -> Answer:
        """POST /keys."""
        key, secret = self._service.issue(terms(ask.fields))
        return Answer({**keys.row(key), "app_key": secret}, 201)

    async def list(self, ask: Ask) -> Answer:
        """GET /keys."""
        page, per_page = ask.query.page()
        found, total = self._service.page(page=page, per_page=per_page)
        rows = [keys.row(key) for key in found]
        return Answer(answers.page_to_json(rows, page=page, per_page=per_page, total=total))

    async def revoke(self, ask: Ask) -> Answer:
        """DELETE /keys/{key_id}."""
        return Answer(keys.row(self._service.revoke(ask.path["key_id"])))


def terms(fields: Fields) -> KeyTerms:
    """What a key is wanted for. Raises: Refusal."""
    identity = fields.identity("identity")
    if identity is None:
        raise invalid("identity is required: one, or the beginning of several and a *")
    return KeyTerms(
        identity=identity,
        name=fields.name("name") or identity,
        may_host=fields.flag("may_host") or False,
        rooms=_rooms(fields.raw("rooms")),
        display_name=fields.name("display_name"),
        allow_break_in=_callers(fields.raw("allow_break_in")),
    )


def _callers(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > keys.MAX_BREAK_IN_PATTERNS:
        raise invalid(
            f"allow_break_in must be a list of at most {keys.MAX_BREAK_IN_PATTERNS} identities; a * ends a pattern"
        )
    return tuple(checked_identity(one, "allow_break_in") for one in value)


def _rooms(value: object) -> tuple[str, ...]:
    if value is None:
        return (keys.ANY,)
    if not isinstance(value, list) or not 0 < len(value) <= keys.MAX_ROOM_PATTERNS:
        raise invalid(f"rooms must be a list of 1 to {keys.MAX_ROOM_PATTERNS} names; a * ends a pattern")
    return tuple(keys.checked_room_pattern(checked_text(one, "rooms", longest=MAX_IDENTITY)) for one in value)
