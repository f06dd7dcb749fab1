"""The engine with a media server that refuses every third grant: the reconciler has work to do.

The environment variable REFUSE_EVERY says another number; 1 refuses them all.

python flaky_engine.py --config ENGINE.toml
"""

from __future__ import annotations

import itertools
import os
import sys

from utdstream.engine import __main__ as engine_main
from utdstream.engine.media.sfu import Sfu, SfuUnavailable


def main() -> int:
    permit = Sfu.permit
    numbers = itertools.count(1)
    every = int(os.environ.get("REFUSE_EVERY", "3"))

    async def flaky(self: Sfu, *arguments: object, **more: object) -> bool:
        if next(numbers) % every == 0:
            raise SfuUnavailable("this grant fails on purpose")
        return await permit(self, *arguments, **more)  # type: ignore[arg-type]  # passed on as they came

    Sfu.permit = flaky  # type: ignore[method-assign]
    return engine_main.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
