"""What `import utdstream` costs and offers, and who may import whom in the project."""

from __future__ import annotations

import ast
import configparser
import inspect
import subprocess
import sys

from imports import ROOT, cycles, imports, modules

import utdstream

HEAVY = (
    "livekit",
    "google.protobuf",
    "requests",
    "paho",
    "pyaudio",
    "numpy",
    "av",
    "PIL",
    "starlette",
    "asyncio",
    "aiohttp",
    "transitions",
    "msgspec",
    "tomli_w",
    "precis_i18n",
    "confusable_homoglyphs",
)


def loaded_by(statement: str) -> set[str]:
    """The heavy packages that are in memory after `statement` in a fresh interpreter."""
    script = f"{statement}\nimport sys\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


def test_import_when_done_loads_nothing_heavy() -> None:
    """Fast on a small machine: the core, REST and MQTT are reached with their first use."""
    assert loaded_by("import utdstream, device") <= {"transitions"}


def test_import_when_the_vocabulary_is_used_stays_light() -> None:
    """Devices, facts and errors need no package at all."""
    assert loaded_by(
        "from utdstream.synthetic import ToneMicrophone, PatternCamera\n"
        "import utdstream\n"
        "utdstream.Devices(ToneMicrophone(), None, PatternCamera())\n"
        "utdstream.UTDRoom().dispose()\n"
    ) <= {"transitions"}


def test_import_when_a_device_waits_loads_nothing_that_a_call_alone_needs() -> None:
    """A doorbell waits for years, on a machine with 512 MB: numpy alone would be 13 MiB more."""
    waiting = loaded_by(
        "import tomllib\nfrom pathlib import Path\nimport device.doorbell.app, device.kiosk.app\n"
        "from device import config, registry\n"
        'text = \'[engine]\\napp_id = "1"\\n[device]\\nidentity = "door"\\n[audio]\\nsample_rate_hz = 48000\\n\'\n'
        "microphone, speaker = registry.open_audio(config.parse(tomllib.loads(text), Path('door.toml')))\n"
        "assert microphone is not None and speaker is not None, 'the echo canceller is around them'"
    )
    assert not waiting & {"livekit", "numpy", "asyncio", "google.protobuf", "aiohttp", "av", "PIL"}


def test_import_when_optimised_refuses_only_the_core() -> None:
    """`python -O` strips the core's checks: the SDK says so instead of misbehaving."""
    script = (
        "import utdstream\n"
        "try:\n    utdstream.UTDRoom().connect('ws://127.0.0.1:9', 'token')\n"
        "except utdstream.InvalidConfig as error:\n    print(error)"
    )
    run = subprocess.run([sys.executable, "-O", "-c", script], capture_output=True, text=True, timeout=60)
    assert "-O" in run.stdout, run.stderr


def test_all_when_listed_is_sorted_complete_and_there() -> None:
    """Every public class of the front page, each once, each importable, nothing of anybody else's."""
    names = utdstream.__all__
    assert sorted(names) == sorted(set(names))
    assert list(names) == sorted(names)
    assert all(hasattr(utdstream, name) for name in names)
    public = {
        name
        for name, value in vars(utdstream).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert public == set(names)


def test_all_when_there_are_errors_has_every_one() -> None:
    """What can be raised can be caught by its public name."""
    from utdstream import errors

    kinds = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert kinds <= set(utdstream.__all__)


def test_every_public_class_and_function_when_read_has_a_docstring() -> None:
    """A door has a sign."""
    for name in utdstream.__all__:
        value = getattr(utdstream, name)
        if not isinstance(value, type) or value.__module__.split(".")[0] != "utdstream":
            continue
        assert value.__doc__, name
        assert not value.__doc__.startswith(f"{name}("), f"{name}: only what dataclass wrote"


FRONT_PAGES = {"utdstream", "utdstream.engine", "device"}
"""They stand above their layers: the first re-exports, the others are empty."""


def layered() -> set[str]:
    """The modules and packages that a layered contract of setup.cfg names."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    named = set()
    for section in settings.sections():
        contract = settings[section]
        if section.startswith("importlinter:contract:") and contract["type"] == "layers":
            words = contract["layers"].replace("|", " ").replace(":", " ").split()
            containers = contract.get("containers", "").split()
            named |= {f"{container}.{word}" for container in containers for word in words} or set(words)
    return named


def is_within(module: str, packages: set[str]) -> bool:
    """Whether the module is one of these, or stands in one of them."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def test_every_module_when_the_layers_are_read_stands_in_one() -> None:
    """A new file has its place among the layers, or the build fails."""
    assert {name for name in modules() if not is_within(name, layered())} - FRONT_PAGES == set()


def test_imports_when_followed_run_in_no_circle() -> None:
    """No two files need each other, not even late inside a function."""
    assert cycles(imports(modules())) == []


def test_classes_when_listed_have_one_home_each() -> None:
    """A concept has one name, and a name one concept: a search for it finds one class."""
    homes: dict[str, list[str]] = {}
    for module, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(module)
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}


def test_cycles_when_two_files_import_each_other_around_a_corner_are_found() -> None:
    """The check above can fail."""
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_file_when_measured_is_short_enough_to_be_read_at_once() -> None:
    """No file has over 500 lines, at most three have over 400, and each of those says why."""
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules().values()}
    long = [path for path, lines in sizes.items() if lines > 400]
    assert [str(path) for path in long if sizes[path] > 500] == []
    assert len(long) <= 3, f"split one of {', '.join(map(str, long))}"
    for path in long:
        words = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        assert "400 lines" in words, f"{path}: say in its docstring why it has more than 400 lines"
