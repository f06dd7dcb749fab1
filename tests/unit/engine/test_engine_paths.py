"""From a path to what stands behind it."""

from __future__ import annotations

import pytest

from utdstream.engine.api.paths import Paths

PATHS = Paths(
    {path: path for path in ("/health", "/rooms/ban", "/rooms/{room}", "/rooms/{room}/seats/{index}/take")}
)


@pytest.mark.parametrize(
    ("path", "entry", "values"),
    [
        ("/health", "/health", {}),
        ("/rooms/ban", "/rooms/ban", {}),
        ("/rooms/bans", "/rooms/{room}", {"room": "bans"}),
        ("/rooms/a%2Fb", "/rooms/{room}", {"room": "a%2Fb"}),
        ("/rooms/r/seats/3/take", "/rooms/{room}/seats/{index}/take", {"room": "r", "index": "3"}),
        ("/rooms/ban/seats/3/take", "/rooms/{room}/seats/{index}/take", {"room": "ban", "index": "3"}),
    ],
)
def test_path_when_known_is_found_with_its_parameters_as_they_were_sent(
    path: str, entry: str, values: dict[str, str]
) -> None:
    """A word goes before a parameter; a slash in a parameter is no separator."""
    assert PATHS.find(path) == (entry, values)


@pytest.mark.parametrize(
    "path", ["", "/", "/health/", "/rooms/", "/rooms//seats/3/take", "/rooms/r/seats/3/kick"]
)
def test_path_when_unknown_is_not_found(path: str) -> None:
    """What is not there is not found."""
    assert PATHS.find(path) is None
