"""Names that no path can carry are refused before anything is asked."""

from __future__ import annotations

import pytest

from utdstream import InvalidConfig, UTDStreamClient
from utdstream._wire import routes
from utdstream.limits import RESERVED_IDENTITIES, RESERVED_ROOM_NAMES


@pytest.fixture
def client() -> UTDStreamClient:
    """A client of an engine that is never asked."""
    nowhere = "http://127.0.0.1:9"
    return UTDStreamClient(app_id="12", app_key="key", base_url=nowhere, token_base_url=nowhere)


@pytest.mark.parametrize("identity", sorted(RESERVED_IDENTITIES))
def test_authenticate_when_no_path_can_carry_the_identity_raises_at_once(
    client: UTDStreamClient, identity: str
) -> None:
    """The participant could be seen in a room and never be removed."""
    with client, pytest.raises(InvalidConfig, match="no path could carry it"):
        client.authenticate(identity=identity, timeout=1)


def test_reserved_names_when_compared_with_the_paths_are_their_words() -> None:
    """A path that gets a new word beside a name reserves it."""
    words = {
        path.removeprefix(f"{parent}/")
        for parent in (routes.ROOMS, f"{routes.ROOM}/participants")
        for path in (routes.BAN, routes.BANS, routes.PEOPLE_BY_ROLE)
        if path.startswith(f"{parent}/") and "/" not in path.removeprefix(f"{parent}/")
    }
    assert words | {".", ".."} == RESERVED_ROOM_NAMES | RESERVED_IDENTITIES
