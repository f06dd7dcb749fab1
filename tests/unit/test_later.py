"""The guesser of encodings that `requests` imports is there when it is asked, and not before."""

from __future__ import annotations

import json
import subprocess
import sys

from small_engine import SmallEngine

PROGRAM = """
import json, sys, warnings
warnings.simplefilter("error")
from utdstream._rest.http import Http
from utdstream._rest.later import defer
from utdstream._threads.deadline import Deadline
url = sys.argv[1]
Http().request("GET", url, headers={}, deadline=Deadline(8, 8, "asking"))
told = ["charset_normalizer.api" in sys.modules]
import requests
answer = requests.Response()
answer._content = "Schöne Grüße aus dem Süden, wo die Äpfel blühen".encode("cp1252")
told += [answer.apparent_encoding is not None, "charset_normalizer.api" in sys.modules]
from charset_normalizer import from_bytes
import charset_normalizer
told += [type(charset_normalizer).__name__, hasattr(charset_normalizer, "nothing")]
told += [from_bytes(b"abc").best() is not None]
defer("charset_normalizer")
defer("no_such_module")
told += [type(charset_normalizer).__name__, "no_such_module" in sys.modules]
print(json.dumps(told))
"""


def test_guesser_when_nobody_asks_is_not_loaded_and_is_whole_once_somebody_does() -> None:
    """What a program of ours never asks costs it nothing; a program's own use of `requests` is as ever."""
    engine = SmallEngine()
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, engine.url],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    finally:
        engine.close()
    assert json.loads(done.stdout) == [False, True, True, "module", False, True, "module", False]
