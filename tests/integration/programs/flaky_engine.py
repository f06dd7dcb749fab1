"""The engine with a media server that refuses every third grant: the reconciler has work to do.

python flaky_engine.py --config ENGINE.toml
"""

from __future__ import annotations

import itertools
import sys

from utdstream.engine import __main__ as engine_main
from utdstream.engine.sfu import Sfu, SfuUnavailable


def main() -> int:
    permit = Sfu.permit
    numbers = itertools.count(1)

    async def flaky(self: Sfu, *arguments: object, **more: object) -> bool:
        if next(numbers) % 3 == 0:
            raise SfuUnavailable("this grant fails on purpose")
        return await permit(self, *arguments, **more)  # type: ignore[arg-type]  # passed on as they came

    Sfu.permit = flaky  # type: ignore[method-assign,assignment]
    return engine_main.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
