"""What `import utdstream` costs and offers."""

from __future__ import annotations

import inspect
import subprocess
import sys

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
