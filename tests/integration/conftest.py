"""A stack whose devices have keys of their own, for the tests of what a key may."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from engine_site import Site
from servers import every_refusal_is_declared

from utdstream.testing import LocalStack


@pytest.fixture(scope="module")
def closed(programs: None) -> Iterator[LocalStack]:
    """A stack on which the open key is off, as with `engine up --lan`, for the tests of one module."""
    with LocalStack(open_key=False) as stack:
        yield stack
        every_refusal_is_declared(stack)


@pytest.fixture
def site(closed: LocalStack) -> Iterator[Site]:
    """Asks that stack's engine; a module with another stack has a `site` of its own."""
    site = Site(closed)
    yield site
    site.close()
