"""One public name as Markdown: its heading, what it is, and each member with what it promises.

Owns: how a signature is written, which members are a user's. Reads the source, because a docstring below an
attribute is nowhere else.
"""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

from generators.markdown import paragraph, promises


def entry(module: ModuleType, name: str) -> Iterator[str]:
    """The heading of a name and what follows it."""
    value = getattr(module, name)
    yield f"### `{name}`\n"
    if inspect.isclass(value):
        yield from _class(value)
    elif inspect.isfunction(value):
        node = _defined(value.__module__)[value.__name__]
        assert isinstance(node, ast.FunctionDef)
        yield f"```python\n{signature(node, method=False)}\n```\n\n{promises(ast.get_docstring(node))}\n"
    else:
        written, text = assigned(home(module.__name__, name))[name]
        yield f"`{written}`{f': {text}' if text else ''}\n"


def home(module: str, name: str) -> str:
    """The module that has the code of a name, followed through the imports of those that only pass it on."""
    for node in _tree(module).body:
        if isinstance(node, ast.ImportFrom) and node.module and any(each.name == name for each in node.names):
            return home(node.module, name)
    return module


@functools.cache
def assigned(module: str) -> dict[str, tuple[str, str]]:
    """The constants of a module: as written, and the text below each."""
    found = {}
    body = _tree(module).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.Assign):
            target = node.targets[0]
        elif isinstance(node, ast.AnnAssign):
            target = node.target
        else:
            continue
        if isinstance(target, ast.Name):
            found[target.id] = (ast.unparse(node), _text_below(after))
    return found


@functools.cache
def _tree(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(import_module(module)))


def _defined(module: str) -> dict[str, ast.stmt]:
    return {
        node.name: node for node in _tree(module).body if isinstance(node, ast.ClassDef | ast.FunctionDef)
    }


def _text_below(after: ast.stmt | None) -> str:
    if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
        return paragraph(str(after.value.value))
    return ""


# --- classes


def _class(kind: type) -> Iterator[str]:
    node = _node(kind)
    assert node is not None
    bases = [f"`{base.__name__}`" for base in kind.__bases__ if _is_worth_saying(base)]
    more = f" A kind of {' and '.join(bases)}." if bases else ""
    yield f"{paragraph(kind.__doc__)}{more}\n"
    rows: dict[str, str] = {}
    for each in _lineage(kind):
        for name, line in _members(each):
            rows.setdefault(name, line)
    lines = [line for line in rows.values() if line]
    if lines:
        yield "\n".join(lines) + "\n"


def _is_worth_saying(base: type) -> bool:
    """Whether a reader can look a base class up: here, or in the Python documentation."""
    return base.__name__ in _front() or (base.__module__ in ("builtins", "enum") and base is not object)


def _lineage(kind: type) -> Iterator[type]:
    """The class, then those whose members it has; an error tells only what is its own."""
    yield kind
    if not issubclass(kind, Exception):
        yield from (base for base in kind.__mro__[1:] if base.__module__.startswith("utdstream"))


def _node(kind: type) -> ast.ClassDef | None:
    node = _defined(kind.__module__).get(kind.__name__)
    return node if isinstance(node, ast.ClassDef) else None


def _members(kind: type) -> Iterator[tuple[str, str]]:
    """Name and line of each public member that a class itself defines."""
    node = _node(kind)
    body = node.body if node is not None else []
    for member, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
            if not member.target.id.startswith("_"):
                yield member.target.id, _line(_field(member), _text_below(after))
        elif isinstance(member, ast.Assign) and isinstance(member.targets[0], ast.Name):
            name = member.targets[0].id
            if not name.startswith("_"):
                yield name, _line(ast.unparse(member), _text_below(after))
        elif isinstance(member, ast.FunctionDef) and member.name == "__init__":
            made_by_users = not _made_by_the_sdk(kind, member)
            yield "__init__", _line(f"{kind.__name__}({_arguments(member)})", "") if made_by_users else ""
            yield from _facts(member)
        elif isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
            yield member.name, _line(signature(member), promises(ast.get_docstring(member)))


def _line(code: str, text: str) -> str:
    """A fact on one line; what a method does on a line of its own, for its signature may be long."""
    between = "<br>" if code.partition("(")[0].isidentifier() else ": "
    return f"- `{code}`{between}{text}" if text else f"- `{code}`"


def _field(member: ast.AnnAssign) -> str:
    assert isinstance(member.target, ast.Name)
    default = ""
    if member.value is not None and not ast.unparse(member.value).startswith("field("):
        default = f" = {ast.unparse(member.value)}"
    return f"{member.target.id}: {ast.unparse(member.annotation)}{default}"


def _made_by_the_sdk(kind: type, init: ast.FunctionDef) -> bool:
    """Whether a constructor takes what only the SDK has: a type of ours among its arguments."""
    ours = _private_types(kind.__module__)
    annotations = [arg.annotation for arg in (*init.args.args, *init.args.kwonlyargs) if arg.annotation]
    return any(
        isinstance(word, ast.Name) and (word.id in ours or word.id.startswith("_"))
        for each in annotations
        for word in ast.walk(each)
    )


@functools.cache
def _private_types(module: str) -> frozenset[str]:
    """The names in a module that stand for something of a module with an underscore."""
    imported = {
        alias.asname or alias.name
        for node in ast.walk(_tree(module))
        if isinstance(node, ast.ImportFrom) and "._" in f".{node.module}"
        for alias in node.names
    }
    own = set(_defined(module)) if "._" in module else set()
    return frozenset((imported | own) - _front())


@functools.cache
def _front() -> frozenset[str]:
    return frozenset(import_module("utdstream").__all__)


def _facts(init: ast.FunctionDef) -> Iterator[tuple[str, str]]:
    """The public attributes that a constructor declares, with the text below each."""
    for statement, after in zip(init.body, [*init.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Attribute):
            name = statement.target.attr
            if not name.startswith("_"):
                yield name, _line(f"{name}: {ast.unparse(statement.annotation)}", _text_below(after))


def signature(function: ast.FunctionDef, *, method: bool = True) -> str:
    """As it is called: without self, and without what is not for users."""
    marks = [ast.unparse(mark) for mark in function.decorator_list]
    returns = f" -> {ast.unparse(function.returns)}" if function.returns is not None else ""
    if "property" in marks:
        return f"{function.name}: {ast.unparse(function.returns) if function.returns else ''}"
    return f"{function.name}({_arguments(function, method=method and 'staticmethod' not in marks)}){returns}"


def _arguments(function: ast.FunctionDef, *, method: bool = True) -> str:
    given = function.args
    plain = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(plain) - len(given.defaults)) + given.defaults
    words = [_argument(arg, default) for arg, default in zip(plain, defaults, strict=True)][bool(method) :]
    named = [
        _argument(arg, default)
        for arg, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)
        if not arg.arg.startswith("_")
    ]
    if given.vararg is not None:
        words.append(f"*{_argument(given.vararg, None)}")
    elif named:
        words.append("*")
    return ", ".join(words + named)


def _argument(arg: ast.arg, default: ast.expr | None) -> str:
    annotation = f": {ast.unparse(arg.annotation)}" if arg.annotation is not None else ""
    equals = " = " if annotation else "="
    return f"{arg.arg}{annotation}{f'{equals}{ast.unparse(default)}' if default is not None else ''}"
