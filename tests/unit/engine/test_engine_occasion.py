"""What happens in one service and matters to another."""

from __future__ import annotations

from utdstream.engine.background import Occasion


def test_occasion_when_it_happens_calls_each_listener_in_order() -> None:
    """With what is told; without listeners nothing happens."""
    answered: Occasion[[str]] = Occasion()
    heard: list[str] = []
    answered("call_0")
    answered.listen(lambda call_id: heard.append(f"first {call_id}"))
    answered.listen(lambda call_id: heard.append(f"second {call_id}"))
    answered("call_1")
    assert heard == ["first call_1", "second call_1"]
