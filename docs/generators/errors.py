"""Every error class, by descent."""

from __future__ import annotations

from collections.abc import Iterator

from generators.markdown import paragraph
from utdstream import errors


def error_tree() -> str:
    """Every class of `utdstream.errors`, indented by descent."""
    classes = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.UTDStreamException)
    ]

    def branch(kind: type, depth: int) -> Iterator[str]:
        also = [
            base.__name__
            for base in kind.__bases__
            if not issubclass(base, errors.UTDStreamException) and base is not Exception
        ]
        more = f" (also a `{'`, `'.join(also)}`)" if also else ""
        yield f"{'  ' * depth}- `{kind.__name__}`{more}: {paragraph(kind.__doc__)}"
        for child in classes:
            if kind in child.__bases__:
                yield from branch(child, depth + 1)

    return "\n".join(branch(errors.UTDStreamException, 0)) + "\n"
