"""Where things are and who may import whom: a row a module, a paragraph an import contract.

Owns: how `docs/explanation/architecture.md` is fed. What a module is comes from its own first line; a rule comes
from setup.cfg, where the build checks it.
"""

from __future__ import annotations

import ast
import configparser
from collections.abc import Callable, Iterator
from pathlib import Path

from generators.markdown import paragraph, table

ROOT = Path(__file__).resolve().parents[2]


def public_modules() -> str:
    """The SDK's modules without an underscore."""
    return _modules("utdstream", lambda name: not name.startswith("_") and name != "engine")


def private_modules() -> str:
    """The SDK's modules with an underscore."""
    return _modules("utdstream", lambda name: name.startswith("_"))


def engine_modules() -> str:
    """The engine's modules."""
    return _modules("utdstream/engine", lambda _: True)


def device_modules() -> str:
    """The machine's modules."""
    return _modules("device", lambda _: True)


def _modules(folder: str, shown: Callable[[str], bool]) -> str:
    here = ROOT / folder
    files = [path for path in here.rglob("*.py") if shown(path.relative_to(here).parts[0])]
    rows = [
        (f"`{_where(path, here)}`", paragraph(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))))
        for path in sorted(files, key=lambda path: _order(path.relative_to(here)))
        if path.parent != here or path.name != "__init__.py"
    ]
    return table(("where", "what"), rows)


def _where(path: Path, base: Path) -> str:
    inside = path.relative_to(base)
    return f"{inside.parent}/" if path.name == "__init__.py" else str(inside)


def _order(path: Path) -> tuple[str, ...]:
    """A folder first, then what is in it; files of the same folder by name."""
    parts = path.parts[:-1] if path.name == "__init__.py" else path.parts
    return tuple(part.removesuffix(".py") for part in parts)


# --- import rules


def import_rules() -> str:
    """Every contract of import-linter in setup.cfg, in its order."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    contracts = [parser[name] for name in parser.sections() if name.startswith("importlinter:contract:")]
    return "\n".join(line for contract in contracts for line in _rule(contract))


def _rule(contract: configparser.SectionProxy) -> Iterator[str]:
    yield f"**{contract['name']}.**"
    kind = contract["type"]
    if kind == "layers":
        yield from _layers(contract)
    elif kind == "forbidden":
        yield f"Not imported from {_words(contract, 'source_modules')}: {_words(contract, 'forbidden_modules')}."
    elif kind == "protected":
        yield f"{_words(contract, 'protected_modules')}: only from {_words(contract, 'allowed_importers')}."
    elif kind == "independence":
        yield f"None of {_words(contract, 'modules')} imports another."
    elif kind == "acyclic_siblings":
        yield f"No circle between the modules below {_words(contract, 'ancestors')}."
    else:
        raise ValueError(f"setup.cfg: no words for an import contract of the type {kind!r}")
    yield ""


def _layers(contract: configparser.SectionProxy) -> Iterator[str]:
    inside = f" in {_words(contract, 'containers')}" if "containers" in contract else ""
    more = " Every module is in one." if contract.getboolean("exhaustive", fallback=False) else ""
    yield f"Layers{inside}, the highest first; a module imports what is below it, nothing beside or above.{more}"
    yield ""
    for number, layer in enumerate(_lines(contract, "layers"), 1):
        names = ", ".join(f"`{name.strip('() ')}`" for name in layer.replace(":", "|").split("|"))
        yield f"{number}. {names}{' (these may import each other)' if ':' in layer else ''}"


def _words(contract: configparser.SectionProxy, key: str) -> str:
    return ", ".join(f"`{line}`" for line in _lines(contract, key))


def _lines(contract: configparser.SectionProxy, key: str) -> list[str]:
    return [line for line in contract[key].splitlines() if line and not line.startswith("#")]
