"""Writes the generated parts of the pages: `python docs/generate.py`; `--check` only says what is stale.

Owns: which part is written by whom (`BLOCKS`); each subject has its file in `generators/`. A page keeps its
own text; what stands between `<!-- generated: NAME -->` and `<!-- end -->` is written here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS)]

from generators import (  # noqa: E402
    architecture,
    calls,
    commands,
    drawings,
    engine,
    errors,
    flutter,
    names,
    settings,
    survival,
)

from device import examples as device_examples  # noqa: E402

_BLOCK = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

BLOCKS: dict[str, Callable[[], str]] = {
    "call-state-table": calls.call_state_table,
    "engine-settings": settings.engine_settings,
    "stack-settings": settings.stack_settings,
    "operations": engine.operations,
    "operations-that-stand": engine.operations_that_stand,
    "error-codes": engine.error_codes,
    "error-tree": errors.error_tree,
    "error-occasions": errors.error_occasions,
    "device-error-occasions": errors.device_error_occasions,
    "commands": commands.commands,
    "flutter-names": flutter.flutter_table,
    "client-config": settings.client_config,
    "device-configuration": settings.device_configuration,
    "cameras": settings.cameras,
    "device-commands": commands.device_commands,
    "public-names": names.public_names,
    "sdk-public-modules": architecture.public_modules,
    "sdk-private-modules": architecture.private_modules,
    "engine-modules": architecture.engine_modules,
    "device-modules": architecture.device_modules,
    "survival": survival.survival,
    "survival-run": survival.survival_run,
    "survival-reasons": survival.survival_reasons,
    "import-rules": architecture.import_rules,
}


def example(name: str) -> str:
    """An example program as a block of Markdown, without its docstring."""
    text = (DOCS / "examples" / name).read_text(encoding="utf-8")
    body = text.split('"""', 2)[2].strip("\n") if text.startswith('"""') else text.strip("\n")
    return f"```python\n{body}\n```\n"


for _path in sorted((DOCS / "examples").glob("*.py")):
    BLOCKS[f"example-{_path.stem.replace('_', '-')}"] = partial(example, _path.name)


def pages() -> dict[Path, str]:
    """Every page that has a generated part, every drawing and every example configuration, as it should be."""
    found = {DOCS / "examples" / f"{app}.toml": device_examples.example(app) for app in ("doorbell", "kiosk")}
    found[DOCS / "images" / "architecture.svg"] = drawings.architecture()
    found[DOCS / "images" / "call-states.svg"] = drawings.call_states()
    for path in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]:
        text = path.read_text(encoding="utf-8")
        if "<!-- generated:" in text:
            found[path] = _BLOCK.sub(lambda block: block[1] + BLOCKS[block[2]]() + block[3], text)
    return found


def stale() -> list[Path]:
    """The pages that are not as they should be."""
    return [
        path
        for path, text in pages().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def main() -> int:
    """Writes what is stale, or with `--check` says it; the exit status."""
    paths = stale()
    if "--check" in sys.argv[1:]:
        for path in paths:
            print(f"{path.relative_to(ROOT)} is stale: run `make docs`", file=sys.stderr)
        return 1 if paths else 0
    for path, text in pages().items():
        if path in paths:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
