"""Writes the generated parts of the pages: `python docs/generate.py`; `--check` only says what is stale.

Owns: every table that is in the code already (states, settings, commands, errors, operations, names). A
page keeps its own text; what stands between `<!-- generated: NAME -->` and `<!-- end -->` is written here.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import os
import re
import sys
import typing
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS)]

import flutter_names  # noqa: E402

import device.__main__ as device_command  # noqa: E402
import utdstream  # noqa: E402
from device import config as device_config  # noqa: E402
from device import examples as device_examples  # noqa: E402
from utdstream import cli, errors  # noqa: E402
from utdstream._wire import call_states as states  # noqa: E402
from utdstream.config import ClientConfig  # noqa: E402
from utdstream.engine import config  # noqa: E402
from utdstream.engine.api.operations import OPERATIONS  # noqa: E402
from utdstream.engine.rules.refusals import STATUS_OF_CODE  # noqa: E402
from utdstream.engine.stack import data_folder, settings  # noqa: E402

os.environ["COLUMNS"] = "110"  # argparse wraps its help by the terminal's width
_BLOCK = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

_MEANINGS = {
    "engine.database": "path of the SQLite file; made when it is not there",
    "engine.token_secret": "signs user tokens, derives broker passwords; a new one signs every device out",
    "engine.host": "address to listen on",
    "engine.port": "port to listen on",
    "engine.log_level": "debug, info, warning or error",
    "project.app_id": "the project's public number",
    "project.app_key": "the publishable key: it mints tokens and nothing else",
    "project.app_secret": "the key of your servers: it may do everything, in anybody's name",
    "project.name": "shown by `GET /project`",
    "project.call_ring_timeout_s": "a call that is not answered for this long is missed",
    "project.max_call_duration_s": "a call is ended after this long",
    "project.calls_enabled": "false: calls are refused (`feature_disabled`)",
    "project.video_enabled": "false: video calls are refused (`feature_disabled`)",
    "project.max_concurrent_rooms": "live streams and audio rooms at once (`room_limit_reached`)",
    "project.max_participants_per_room": "people in one audio room; a live stream has no limit",
    "livekit.api_key": "name of livekit-server's key",
    "livekit.api_secret": "livekit-server's key; signs media tokens and checks webhooks",
    "livekit.url": "where the engine reaches livekit-server (http or https)",
    "livekit.public_url": "where devices reach it (ws or wss)",
    "mqtt.password": "of the engine's own broker login",
    "mqtt.username": "the engine's own broker login, an administrator of the dynamic-security plugin",
    "mqtt.host": "where the engine reaches the broker",
    "mqtt.port": "where the engine reaches the broker",
    "mqtt.public_host": "where devices reach the broker",
    "mqtt.public_port": "where devices reach the broker",
    "limits.enabled": "false: no rate limits",
    "limits.requests_per_minute": "requests of one identity (a server with the secret: fifty times as many)",
    "limits.mints_per_minute": "mints of one identity on one device",
    "limits.takeover_cooldown_s": "so long no other device gets the session of somebody in a room",
    "stack.data": "the data folder, like `--data`",
    "stack.lan": "true: serve the network, like `--lan`",
    "stack.address": "this machine's address on the network (default: found)",
    "stack.log_level": "of the engine: debug, info, warning or error",
    "ports.engine": "the engine, TCP",
    "ports.livekit": "livekit-server's signalling, TCP",
    "ports.livekit_udp": "media, UDP",
    "ports.livekit_tcp": "media where UDP is blocked, TCP, with `--lan` only",
    "ports.stun": "STUN, UDP: so that no address outside is ever asked",
    "ports.mqtt": "the broker, TCP",
}
"""What each key of the engine's settings is for."""


# --- tables


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    def line(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"

    return line(head) + line(("---",) * len(head)) + "".join(line(row) for row in rows)


def _first_sentence(text: str | None) -> str:
    paragraph = inspect.cleandoc(text or "").split("\n\n")[0]
    return " ".join(paragraph.split())


def call_state_table() -> str:
    """Every transition of the calls' table."""
    rows = [
        (
            row.trigger,
            ", ".join("(no call)" if source is None else source.wire for source in row.sources),
            row.target.wire,
            row.meaning,
        )
        for row in states.TRANSITIONS
    ]
    return _table(("trigger", "from", "to", "when"), rows)


def call_state_diagram() -> str:
    """The same as a drawing."""
    lines = ["```mermaid", "stateDiagram-v2"]
    for row in states.TRANSITIONS:
        for source in row.sources:
            lines.append(
                f"    {'[*]' if source is None else source.wire} --> {row.target.wire}: {row.trigger}"
            )
    lines += [f"    {state.wire} --> [*]" for state in states.FINAL_STATES]
    return "\n".join([*lines, "```", ""])


def _settings(sections: dict[str, type]) -> str:
    parts: list[str] = []
    for section, kind in sections.items():
        rows = []
        for item in dataclasses.fields(kind):
            if item.default is not dataclasses.MISSING:
                default = "any free port" if item.default is None else f"`{item.default!r}`"
            else:
                default = "random" if item.default_factory is not dataclasses.MISSING else "**needed**"
            meaning = _MEANINGS[f"{section}.{item.name}"]
            rows.append((f"`{item.name}`", str(item.type), default, meaning))
        parts.append(f"### `[{section}]`\n\n" + _table(("key", "type", "default", "meaning"), rows))
    return "\n".join(parts)


def engine_settings() -> str:
    """The file of `utdstream engine serve`."""
    return _settings(
        {
            "engine": config.EngineSection,
            "project": config.ProjectSection,
            "livekit": config.LiveKitSection,
            "mqtt": config.MqttSection,
            "limits": config.LimitsSection,
        }
    )


def stack_settings() -> str:
    """The file of `utdstream engine up`."""
    rows = [
        (f"`{key}`", kind.__name__, _MEANINGS[f"stack.{key}"])
        for key, kind in data_folder._STACK_KEYS.items()
    ]
    ports = [
        (f"`{item.name}`", f"`{getattr(settings.DEFAULT_PORTS, item.name)}`", _MEANINGS[f"ports.{item.name}"])
        for item in dataclasses.fields(settings.Ports)
    ]
    return (
        "### `[stack]`\n\n"
        + _table(("key", "type", "meaning"), rows)
        + "\n### `[ports]`\n\n"
        + _table(("key", "default", "meaning"), ports)
        + "\n"
        + _settings({"project": settings.Project, "limits": settings.Limits})
    )


def operations() -> str:
    """Every operation of the engine."""
    rows = [
        (
            f"`{row.method} {row.path}`",
            row.summary,
            row.access.value,
            ", ".join(f"`{code}`" for code in row.codes),
        )
        for row in OPERATIONS
    ]
    return _table(("request", "what it does", "needs", "its own refusals"), rows)


def error_codes() -> str:
    """Every code the engine refuses with, and what the SDK raises then."""
    rows = [
        (f"`{code}`", str(status), f"`{type(errors.error_from_answer(status, '', code)).__name__}`")
        for code, status in STATUS_OF_CODE.items()
    ]
    return _table(("code", "HTTP status", "the SDK raises"), rows)


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
        yield f"{'  ' * depth}- `{kind.__name__}`{more}: {_first_sentence(kind.__doc__)}"
        for child in classes:
            if kind in child.__bases__:
                yield from branch(child, depth + 1)

    return "\n".join(branch(errors.UTDStreamException, 0)) + "\n"


def commands() -> str:
    """Every verb with its options, from the command's own parser."""
    return "\n".join(_verbs(cli._parser(), "utdstream"))


def _verbs(parser: argparse.ArgumentParser, name: str) -> Iterator[str]:
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for action in below:
        for word, verb in action.choices.items():
            yield from _verbs(verb, f"{name} {word}")
    if below:
        return
    yield f"### `{name}`\n\n{parser.description}\n"
    rows = []
    for action in parser._actions:
        if action.dest == "help":
            continue
        word = action.option_strings[0] if action.option_strings else ""
        value = action.metavar or ("|".join(action.choices) if action.choices else "")
        if action.nargs == 0:
            value = ""
        rows.append((f"`{f'{word} {value}'.strip()}`", action.help or "", "yes" if action.required else ""))
    yield _table(("argument", "meaning", "needed"), rows)
    yield f"```sh\n{inspect.cleandoc((parser.epilog or '').replace('examples:', '').strip(chr(10)))}\n```\n"


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
        parts.append(f"### {title}\n\n" + _table(("Flutter", "Python", "asserted by"), rows))
    return "\n".join(parts)


def client_config() -> str:
    """Every field of `ClientConfig` with its default."""
    rows = [(f"`{item.name}`", f"{item.default:g}") for item in dataclasses.fields(ClientConfig)]
    return _table(("field", "default, seconds"), rows)


# --- the Python names


def public_names() -> str:
    """Every public name, with its members and what they promise."""
    parts: list[str] = []
    for module, names in _by_module().items():
        tree = ast.parse(inspect.getsource(import_module(module)))
        parts.append(f"## `{module}`\n")
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name in names:
                parts += _class(node)
    return "\n".join(parts)


def _by_module() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in utdstream.__all__:
        value = getattr(utdstream, name)
        if inspect.isclass(value):
            found.setdefault(value.__module__, []).append(name)
    for module, names in (
        ("utdstream.mqtt", ["MqttIncomingCalls"]),
        ("utdstream.testing.local_stack", ["LocalStack"]),
        (
            "utdstream.synthetic",
            ["ToneMicrophone", "FileMicrophone", "NullSpeaker", "RecordingSpeaker", "PatternCamera"],
        ),
    ):
        found.setdefault(module, []).extend(names)
    return dict(sorted(found.items()))


def _class(node: ast.ClassDef) -> Iterator[str]:
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    yield f"### `{node.name}{f'({bases})' if bases else ''}`\n\n{_first_sentence(ast.get_docstring(node))}\n"
    rows = [row for member in [*_inherited_in_private(node), *node.body] for row in _members(member)]
    if rows:
        yield _table(("member", "what it is"), rows)


def _inherited_in_private(node: ast.ClassDef) -> list[ast.stmt]:
    """The body of a base class that has no page of its own, because its module is private."""
    kind = getattr(utdstream, node.name, None)
    bases = kind.__bases__ if inspect.isclass(kind) else ()
    found: list[ast.stmt] = []
    for base in bases:
        if base.__module__.startswith("utdstream._"):
            tree = ast.parse(inspect.getsource(import_module(base.__module__)))
            found += [
                member
                for below in tree.body
                if isinstance(below, ast.ClassDef) and below.name == base.__name__
                for member in below.body
                if not (isinstance(member, ast.FunctionDef) and member.name == "__init__")
            ]
    return found


def _members(member: ast.stmt) -> Iterator[tuple[str, str]]:
    if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
        if not member.target.id.startswith("_"):
            yield f"`{member.target.id}: {ast.unparse(member.annotation)}`", ""
    elif isinstance(member, ast.Assign) and isinstance(member.targets[0], ast.Name):
        name = member.targets[0].id
        if not name.startswith("_"):
            yield f"`{name} = {ast.unparse(member.value)}`", ""
    elif isinstance(member, ast.FunctionDef):
        if member.name == "__init__":
            if not any(
                arg.arg in ("parts", "transport", "lane")
                for arg in (*member.args.args, *member.args.kwonlyargs)
            ):
                yield f"`{_signature(member)}`", ""  # what the SDK alone makes is not called by users
            yield from _facts(member)
        elif not member.name.startswith("_"):
            yield f"`{_signature(member)}`", _first_sentence(ast.get_docstring(member))


def _facts(init: ast.FunctionDef) -> Iterator[tuple[str, str]]:
    """The public attributes that a constructor declares, with the text below each."""
    for statement, after in zip(init.body, [*init.body[1:], None], strict=True):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Attribute):
            continue
        if statement.target.attr.startswith("_"):
            continue
        text = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            text = _first_sentence(str(after.value.value))
        yield f"`{statement.target.attr}: {ast.unparse(statement.annotation)}`", text


def _signature(function: ast.FunctionDef) -> str:
    """As it is called: without self, and without what is not for users."""
    if any(isinstance(mark, ast.Name) and mark.id == "property" for mark in function.decorator_list):
        return f"{function.name}: {ast.unparse(function.returns) if function.returns else ''}"
    given = function.args
    given.args = given.args[1:]
    shown = [
        (arg, default)
        for arg, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)
        if not arg.arg.startswith("_")
    ]
    given.kwonlyargs = [arg for arg, _ in shown]
    given.kw_defaults = [default for _, default in shown]
    name = "(constructor)" if function.name == "__init__" else function.name
    returns = (
        "" if function.returns is None or name == "(constructor)" else f" -> {ast.unparse(function.returns)}"
    )
    return f"{name}({ast.unparse(given)}){returns}"


def device_configuration() -> str:
    """Every section and key of the machine's configuration."""
    lines: list[str] = []
    for section, kind in device_config.SECTIONS.items():
        lines += [
            f"### `[{section}]`",
            "",
            (kind.__doc__ or "").strip(),
            "",
            "| key | type | default | meaning |",
            "| --- | --- | --- | --- |",
        ]
        hints = typing.get_type_hints(kind)
        for item in dataclasses.fields(kind):
            if item.default is dataclasses.MISSING:
                default = "must be set"
            else:
                default = "not set" if item.default is None else f"`{device_examples.toml(item.default)}`"
            words = device_examples.explanation(kind, item)
            lines.append(
                f"| `{item.name}` | {device_examples.type_words(hints[item.name])} | {default} | {words} |"
            )
        lines.append("")
    return "\n".join(lines)


def device_commands() -> str:
    """The help of `utd-device` and of each of its verbs."""
    parser = device_command._parser()
    verbs = parser._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    return "".join(f"```text\n{each.format_help()}```\n\n" for each in (parser, *verbs.values()))


BLOCKS: dict[str, Callable[[], str]] = {
    "call-state-table": call_state_table,
    "call-state-diagram": call_state_diagram,
    "engine-settings": engine_settings,
    "stack-settings": stack_settings,
    "operations": operations,
    "error-codes": error_codes,
    "error-tree": error_tree,
    "commands": commands,
    "flutter-names": flutter_table,
    "client-config": client_config,
    "device-configuration": device_configuration,
    "device-commands": device_commands,
    "public-names": public_names,
}


def example(name: str) -> str:
    """An example program as a block of Markdown, without its docstring."""
    text = (DOCS / "examples" / name).read_text(encoding="utf-8")
    body = text.split('"""', 2)[2].strip("\n") if text.startswith('"""') else text.strip("\n")
    return f"```python\n{body}\n```\n"


for _path in sorted((DOCS / "examples").glob("*.py")):
    BLOCKS[f"example-{_path.stem.replace('_', '-')}"] = partial(example, _path.name)


def pages() -> dict[Path, str]:
    """Every page that has a generated part, and every example configuration, as it should be."""
    found = {DOCS / "examples" / f"{app}.toml": device_examples.example(app) for app in ("doorbell", "kiosk")}
    for path in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]:
        text = path.read_text(encoding="utf-8")
        if "<!-- generated:" in text:
            found[path] = _BLOCK.sub(lambda block: block[1] + BLOCKS[block[2]]() + block[3], text)
    return found


def stale() -> list[Path]:
    """The pages that are not as they should be."""
    return [path for path, text in pages().items() if path.read_text(encoding="utf-8") != text]


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
