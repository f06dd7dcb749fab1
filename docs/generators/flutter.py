"""The Flutter package's names beside ours."""

from __future__ import annotations

import flutter_names

from generators.markdown import table


def flutter_table() -> str:
    """The Flutter package's names beside ours, and the test that asserts each on the real servers."""
    parts = []
    tests = flutter_names.tests()
    for title, names in flutter_names.NAMES.items():
        rows = [
            (
                f"`{theirs}`",
                f"`{ours}`",
                f"`{tests.get(ours, 'none')}`" if flutter_names.exists(ours) else "not there yet",
            )
            for theirs, ours in names
        ]
        parts.append(f"### {title}\n\n" + table(("Flutter", "Python", "asserted by"), rows))
    return "\n".join(parts)
