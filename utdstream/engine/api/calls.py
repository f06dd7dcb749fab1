"""The handlers of calls: a request's fields in, the engine's spelling of a call out.

Owns: which credentials a request about a call needs, and when an answer carries a media token. Runs on the loop
thread. The rules are in `rules/calls`, the effects in `flows/calls`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from utdstream._wire import answers, codec
from utdstream.engine.api.fields import checked_name
from utdstream.engine.api.quotas import Quotas
from utdstream.engine.api.request import Answer, Ask, Handler
from utdstream.engine.flows.calls import CallService, NewCall
from utdstream.engine.media.tokens import Tokens
from utdstream.engine.rules import calls
from utdstream.engine.rules.calls import CallRecord
from utdstream.engine.rules.refusals import invalid
from utdstream.engine.rules.rooms import call_sources
from utdstream.engine.store.contract import CallFilter
from utdstream.models import UTDCall, UTDCallStatus, UTDStreamType


class CallHandlers:
    """Handlers of the operations on calls."""

    def __init__(self, service: CallService, tokens: Tokens, media_url: str, quotas: Quotas) -> None:
        self._service = service
        self._tokens = tokens
        self._media_url = media_url
        self._quotas = quotas

    def handlers(self) -> Mapping[str, Handler]:
        """Operation id to handler."""
        return {
            "create_call": self.create,
            "list_calls": self.list,
            "get_call": self.get,
            "ringing": self.ringing,
            "accept": self.accept,
            "reject": self.reject,
            "busy": self.busy,
            "end": self.end,
        }

    async def create(self, ask: Ask) -> Answer:
        """POST /calls."""
        callee = ask.fields.identity("callee_identity")
        if callee is None or (ask.asker.trusted and not ask.fields.has("caller_identity")):
            raise invalid("caller_identity and callee_identity are required")
        caller = ask.actor("caller_identity")
        type = ask.fields.stream_type() or UTDStreamType.AUDIO_CALL
        if not type.is_call:
            raise invalid("type must be audio_call or video_call")
        wanted = NewCall(
            type=type,
            caller=caller,
            callee=callee,
            caller_name=_caller_name(ask),
            callee_name=ask.fields.name("callee_name"),
            metadata=ask.fields.metadata(),
            idempotency_key=ask.idempotency_key,
            group=_group(ask),
            key_id=ask.asker.own_key_id,
        )
        with self._quotas.calls.one_more(ask.counted_as) as keep:
            record, is_replay = await self._service.create(wanted)
            keep(record.call_id)
        if ask.undos is not None:
            ask.undos.append(lambda: self._hang_up(record.call_id, caller))
        return Answer(self._with_token(record, caller, ask), 200 if is_replay else 201)

    async def get(self, ask: Ask) -> Answer:
        """GET /calls/{call_id}."""
        record = self._service.get(ask.path["call_id"])
        if ask.asker.identity is None:
            return self._answer(record)
        calls.only_party(record, ask.asker.identity)
        record = await self._service.with_room(record)
        return Answer(self._with_token(record, ask.asker.identity, ask))

    async def list(self, ask: Ask) -> Answer:
        """GET /calls."""
        page, per_page = ask.query.page()
        identity = ask.query.text("identity")
        if identity is not None:
            checked_name(identity, "identity")  # also of calls from before some identities were refused
        type_word = ask.query.text("type")
        type = codec.stream_type(type_word)
        if type_word is not None and type is None:
            raise invalid("type must be audio_call or video_call")
        wanted = CallFilter(
            statuses=_statuses(ask.query.text("status")),
            type=type,
            identity=ask.asker.identity or identity,
            peer=identity if ask.asker.identity is not None else None,
            created_from=ask.query.moment("start_date"),
            created_until=ask.query.moment("end_date", end_of_day=True),
        )
        records, total = self._service.page(wanted, page=page, per_page=per_page)
        rows = [codec.call_to_json(self._shown(record)) for record in records]
        return Answer(answers.page_to_json(rows, page=page, per_page=per_page, total=total))

    async def ringing(self, ask: Ask) -> Answer:
        """POST /calls/{call_id}/ringing."""
        return self._answer(self._service.ringing(ask.path["call_id"], ask.actor()))

    async def accept(self, ask: Ask) -> Answer:
        """POST /calls/{call_id}/accept."""
        actor = ask.actor()
        record = await self._service.accept(
            ask.path["call_id"], actor, ask.idempotency_key, key_id=ask.asker.own_key_id
        )
        if ask.undos is not None:
            ask.undos.append(lambda: self._hang_up(record.call_id, actor))
        return Answer(self._with_token(record, actor, ask))

    async def reject(self, ask: Ask) -> Answer:
        """POST /calls/{call_id}/reject."""
        return self._answer(self._service.reject(ask.path["call_id"], ask.actor()))

    async def busy(self, ask: Ask) -> Answer:
        """POST /calls/{call_id}/busy."""
        return self._answer(self._service.busy(ask.path["call_id"], ask.actor()))

    async def end(self, ask: Ask) -> Answer:
        """POST /calls/{call_id}/end."""
        return self._answer(self._service.end(ask.path["call_id"], ask.actor()))

    def _hang_up(self, call_id: str, actor: str) -> bool:
        """Ends a call that was made, or answered, for nobody; one that is over already is fine."""
        self._service.end(call_id, actor)
        return True

    def _answer(self, record: CallRecord) -> Answer:
        return Answer(codec.call_to_json(self._shown(record)))

    def _shown(self, record: CallRecord) -> UTDCall:
        return replace(record.call, media_ready=self._service.has_media(record))

    def _with_token(self, record: CallRecord, identity: str, ask: Ask) -> dict[str, object]:
        if not calls.may_join(record, identity):
            return codec.call_to_json(self._shown(record))
        name = record.call.caller_name if identity == record.caller else record.call.callee_name
        token = self._tokens.media(
            room=record.call_id,
            identity=identity,
            name=name,
            sources=call_sources(record.call.type),
            key_id=ask.asker.own_key_id,
        )
        return codec.call_to_json(replace(self._shown(record), token=token, url=self._media_url))


def _caller_name(ask: Ask) -> str | None:
    """What the callee is shown: with a key of its own a caller is called what that says, or by its identity."""
    named = ask.fields.name("caller_name")
    return named if ask.asker.key is None else ask.asker.display_name


def _group(ask: Ask) -> str | None:
    group = ask.fields.text("group")
    if group is not None and not re.fullmatch(calls.GROUP_PATTERN, group, re.ASCII):
        raise invalid("group must be 1 to 64 letters, digits, - or _")
    return group


def _statuses(text: str | None) -> tuple[UTDCallStatus, ...] | None:
    if text is None:
        return None
    statuses = [codec.call_status(word.strip()) for word in text.split(",")]
    known = tuple(status for status in statuses if status is not None)
    if len(known) != len(statuses):
        raise invalid(f"status must be one or more of {', '.join(status.wire for status in UTDCallStatus)}")
    return tuple(dict.fromkeys(known))
