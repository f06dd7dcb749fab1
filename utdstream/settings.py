"""Settings files: TOML in, a frozen dataclass of sections out, one sentence for every mistake.

Owns: the reading (`read`, `parse`, `changed`) and the words for a key (`Key`), which the references and examples
are written from. Any thread. Imports vocabulary and msgspec, which nothing else imports: it judges the values.

1. A section is a dataclass, a key one of its fields; type, limits and meaning are the field's annotation:
   `port: Annotated[int, Meta(ge=1, le=65535), "where it listens"] = 8080`.
2. An unknown section or key is refused, with the nearest known one.
3. An error names file, section, key, what was found and what is expected. The value of a field that its
   section's `repr` leaves out (`repr=False`) is a secret and not shown.
4. A relative path is relative to the file.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, TypeVar

from utdstream.errors import InvalidConfig
from utdstream.one_line import one_line
from utdstream.secret_file import why

try:
    import msgspec
    from msgspec import Meta as Meta
    from msgspec import inspect
except ImportError as error:
    from utdstream.checks import requirement

    raise ImportError(
        f"settings files need msgspec: pip install '{requirement('msgspec')}'", name="msgspec"
    ) from error

_Kind = TypeVar("_Kind")
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(\S*)")
_ONLY_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)")
_PLACE = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+(?:%\w+)?\])(?::\d{1,5})?")
_WORDS: dict[type[inspect.Type], str] = {
    inspect.BoolType: "true or false",
    inspect.IntType: "a whole number",
    inspect.FloatType: "a number",
    inspect.StrType: "a printable, non-empty text",
    inspect.VarTupleType: 'a list of texts, like ["anna", "ben"]',
    inspect.CustomType: "the path of a file or folder",
}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a section. `default` is `dataclasses.MISSING` for one that must be set."""

    name: str
    annotation: Any
    default: object
    is_secret: bool

    @property
    def meaning(self) -> str:
        """What it is for: the text in its annotation."""
        notes = getattr(self.annotation, "__metadata__", ())
        return next((note for note in notes if isinstance(note, str)), "")

    @property
    def options(self) -> tuple[object, ...]:
        """The values it may have, when it is one of a few."""
        hint = typing.get_args(self.annotation)[0]
        return typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()

    @property
    def limits(self) -> str:
        """The least and the most, as `1 to 65535`; empty for what has none."""
        kind, title = _bare(inspect.type_info(self.annotation))
        if isinstance(kind, inspect.IntType | inspect.FloatType) and kind.ge is not None and not title:
            return f"{kind.ge} to {kind.le}"
        return ""

    @property
    def expected(self) -> str:
        """What it may hold, as the end of "must be"."""
        kind, title = _bare(inspect.type_info(self.annotation))
        if title or self.options:
            return title or f"one of {', '.join(map(toml, self.options))}"
        words = next(words for one, words in _WORDS.items() if isinstance(kind, one))
        if getattr(kind, "multiple_of", None) == 2:
            words = words.replace("a ", "an even ", 1)
        return f"{words} from {self.limits}" if self.limits else words

    def checked(self, value: object, where: str, folder: Path) -> object:
        """The value as its section holds it; `where` begins the sentence. Raises: InvalidConfig."""

        def path(kind: type[Any], given: Any) -> Any:  # the one type that msgspec does not know itself
            return folder / Path(given).expanduser()

        try:
            held = msgspec.convert(value, self.annotation, dec_hook=path)
        except (msgspec.ValidationError, RuntimeError) as error:  # the latter: ~ of a user that is not there
            raise InvalidConfig(self._refusal(value, where)) from error
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and not (text and text.isprintable()):
                raise InvalidConfig(self._refusal(value, where))
        twice = (
            next((item for item in value if value.count(item) > 1), None) if isinstance(value, list) else None
        )
        if twice is not None:
            raise InvalidConfig(
                f"{where} {self.name}: {toml(twice)} stands there twice; leave one of them out"
            )
        return held

    def _refusal(self, value: object, where: str) -> str:
        found = f", not {toml(value)}"
        if self.is_secret and value != "":
            found = f"; found a value of type {type(value).__name__}, not shown here"
        options = list(map(str, self.options)) if isinstance(value, str) else []
        near = difflib.get_close_matches(str(value), options, n=1, cutoff=0.5)
        hint = f'; did you mean "{near[0]}"?' if near else ""
        return f"{where} {self.name}: must be {self.expected}{found}{hint}"


def keys(section: type[Any]) -> Mapping[str, Key]:
    """The keys of a section, by name, in the order of its fields."""
    hints = typing.get_type_hints(section, include_extras=True)
    return {
        item.name: Key(item.name, hints[item.name], item.default, not item.repr)
        for item in dataclasses.fields(section)
    }


def sections(kind: type[Any]) -> Mapping[str, type[Any]]:
    """The sections of a file, by name: the fields of `kind` that are dataclasses themselves."""
    hints = typing.get_type_hints(kind)
    options = {name: [hint, *typing.get_args(hint)] for name, hint in hints.items()}
    return {
        name: option
        for name, among in options.items()
        for option in among
        if isinstance(option, type) and dataclasses.is_dataclass(option)
    }


def read(path: Path, kind: type[_Kind]) -> _Kind:
    """The settings in the file at `path`. Raises: InvalidConfig."""
    return parse(tables(path), kind, path)


def tables(path: Path) -> Mapping[str, object]:
    """The TOML tables in the file at `path`, unchecked. Raises: InvalidConfig."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise InvalidConfig(f"{path}: there is no such file") from error
    except OSError as error:
        raise InvalidConfig(f"{path}: cannot be read ({why(error)})") from error
    return tables_in(raw, path)


def tables_in(raw: bytes, source: Path) -> Mapping[str, object]:
    """The TOML tables in these bytes, unchecked; `source` is named in errors. Raises: InvalidConfig."""
    try:
        return tomllib.loads(raw.decode("utf-8").replace("\r\n", "\n"))
    except UnicodeDecodeError as error:
        raise InvalidConfig(f"{source}: cannot be read ({why(error)})") from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfig(f"{source}: is not TOML: {one_line(str(error))}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, lists in lists in lists
        raise InvalidConfig(f"{source}: is not TOML that can be read: {one_line(str(error))}") from error


def parse(
    tables: Mapping[str, object], kind: type[_Kind], source: Path, *, base: _Kind | None = None
) -> _Kind:
    """The settings in parsed TOML. Raises: InvalidConfig.

    `source` is the file that errors name and relative paths start from; a field `path` is that file. What the
    tables do not say is as in `base`, without one as by default.
    """
    known, fields = sections(kind), keys(kind)
    for name in tables:
        if name not in known:
            raise InvalidConfig(f"{source}: there is no section [{name}]{_nearest(name, known, '[{}]')}")
    made: dict[str, Any] = {"path": source} if "path" in fields else {}
    for name, section in known.items():
        kept = getattr(base, name, None)
        if name in tables or (kept is None and fields[name].default is not None):
            made[name] = _section(section, tables.get(name, {}), f"{source}: [{name}]", source.parent, kept)
        else:
            made[name] = kept
    return kind(**made)


def changed(section: _Kind, changes: Mapping[str, object], where: str) -> _Kind:
    """`section` with these keys changed; `where` begins the sentence of an error. Raises: InvalidConfig."""
    return typing.cast(_Kind, _section(type(section), changes, where, Path(), section))


def _section(kind: type[Any], table: object, where: str, folder: Path, base: object) -> object:
    if not isinstance(table, Mapping):
        raise InvalidConfig(f"{where} must be a section, not {toml(table)}")
    known = keys(kind)
    values = {}
    for name, value in table.items():
        if name not in known:
            raise InvalidConfig(f"{where} {name}: there is no such key{_nearest(name, known, '{}')}")
        values[name] = known[name].checked(value, where, folder)
    if base is not None:
        return dataclasses.replace(typing.cast(Any, base), **values)
    for key in known.values():
        if key.default is MISSING and key.name not in values:
            raise InvalidConfig(f"{where} {key.name}: is missing; it is {key.meaning}")
    return kind(**values)


def toml(value: object) -> str:
    """A value as TOML writes it; an address is `shown`, a table is only named."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, float):
        return str(value)
    if isinstance(value, str | Path):
        value = shown(str(value))
    elif isinstance(value, list | tuple):
        value = [shown(one) if isinstance(one, str) else one for one in value]
    # JSON's escapes of a printable text are TOML's.
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=0).decode()


def without_secrets(text: str) -> str:
    """The text with only scheme, host and port left of its addresses: `rtsp://***@192.168.1.20/***`.

    Cameras take user and password before the host, in the path (`/user=admin&password=...`) or in the query. Where
    the host cannot be told from them (a password with a slash) it is not shown either.
    """
    return _ADDRESS.sub(_place, text)


def shown(value: str) -> str:
    """The value of a setting as people may see it: as `without_secrets`, also when an address has spaces in it."""
    return _ONLY_ADDRESS.sub(_place, value) if _ONLY_ADDRESS.fullmatch(value) else without_secrets(value)


def _place(address: re.Match[str]) -> str:
    scheme, rest = address[1], address[2]
    if not rest.strip(".,;:)'\"`>"):  # of a sentence: "write http:// instead of https://"
        return address[0]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    tail = rest[len(authority) :]
    _, at, place = authority.rpartition("@")
    bare = place if tail else place.rstrip(".,;:)'\"`>")  # the sentence's own signs, not the address's
    if "@" in tail or _PLACE.fullmatch(bare) is None:
        return f"{scheme}://***"
    return f"{scheme}://{'***@' if at else ''}{bare}{'/***' if len(tail) > 1 else tail}{place[len(bare) :]}"


def _bare(kind: inspect.Type) -> tuple[inspect.Type, str]:
    """The type without its notes and without None, and the title that stands in for its words."""
    title = ""
    while isinstance(kind, inspect.Metadata | inspect.UnionType):
        if isinstance(kind, inspect.Metadata):
            title = str((kind.extra_json_schema or {}).get("title", title))
            kind = kind.type
        else:
            kind = next(one for one in kind.types if not isinstance(one, inspect.NoneType))
    return kind, title


def _nearest(name: str, known: Iterable[str], form: str) -> str:
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {form.format(found[0])}?" if found else f"; known are {', '.join(known)}"
