"""Every verb of both commands, from their own parsers."""

from __future__ import annotations

import argparse
import inspect
import os
from collections.abc import Iterator

import device.__main__ as device_command
from generators.markdown import table
from utdstream import cli

os.environ["COLUMNS"] = "110"  # argparse wraps its help by the terminal's width
os.environ["PYTHON_COLORS"] = "0"  # Python 3.14 colours it at a terminal


class _OnEveryPython(argparse.RawDescriptionHelpFormatter):
    """Counts a verb's indentation as Python 3.13 does; older ones forget it, and wrap the longest verb."""

    def add_argument(self, action: argparse.Action) -> None:
        super().add_argument(action)
        for each in self._iter_indented_subactions(action):
            width = len(self._format_action_invocation(each)) + self._current_indent
            self._action_max_length = max(self._action_max_length, width)


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
    for each in parser._actions:
        if each.dest == "help":
            continue
        word = each.option_strings[0] if each.option_strings else ""
        value = each.metavar or (f"{{{','.join(each.choices)}}}" if each.choices else "")
        if each.nargs == 0:
            value = ""
        rows.append((f"`{f'{word} {value}'.strip()}`", each.help or "", "yes" if each.required else ""))
    yield table(("argument", "meaning", "needed"), rows)
    yield f"```sh\n{inspect.cleandoc((parser.epilog or '').replace('examples:', '').strip(chr(10)))}\n```\n"


def device_commands() -> str:
    """The help of `utd-device` and of each of its verbs."""
    parser = device_command._parser()
    (verbs,) = (each.choices for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    said = []
    for each in (parser, *verbs.values()):
        each.formatter_class = _OnEveryPython
        said.append(f"```text\n{each.format_help()}```\n\n")
    return "".join(said)
