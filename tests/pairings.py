"""Pairing for tests: codes from the engine, a device with a folder, and who else may be on the line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from wire import Wire

from utdstream._wire import routes
from utdstream._wire.app_keys import digest_of
from utdstream._wire.pairing import read_code, secrets_of
from utdstream.engine.stack.settings import StackSettings
from utdstream.pairing import Paired, pair
from utdstream.testing import LocalStack


@dataclass(frozen=True)
class Offer:
    """A code that the engine made."""

    pairing_id: str
    code: str
    url: str


class Owner:
    """Whoever has the engine's machine: asks it on loopback, in clear."""

    def __init__(self, settings: StackSettings) -> None:
        self._base_url = clear_url(settings)
        self._headers = {
            routes.HEADER_APP_ID: settings.project.app_id,
            routes.HEADER_APP_SECRET: settings.project.app_secret,
        }

    @classmethod
    def of(cls, stack: LocalStack) -> Owner:
        return cls(stack_settings(stack))

    def offer(self, identity: str = "kitchen", **fields: object) -> Offer:
        made = self._ask("POST", routes.PAIRINGS, {"identity": identity, **fields})
        return Offer(*(str(made[name]) for name in ("pairing_id", "code", "url")))

    def row(self, offer: Offer) -> dict[str, Any]:
        return self.row_of(offer.pairing_id)

    def row_of(self, pairing_id: str) -> dict[str, Any]:
        return self._ask("GET", routes.pairing(pairing_id))

    def withdraw(self, offer: Offer) -> dict[str, Any]:
        return self._ask("DELETE", routes.pairing(offer.pairing_id))

    def keys_of(self, identity: str) -> list[str]:
        rows = self._ask("GET", f"{routes.KEYS}?per_page=100")["data"]
        return [row["key_id"] for row in rows if row["identity"] == identity]

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        answer = requests.request(method, self._base_url + path, json=body, headers=self._headers, timeout=8)
        assert answer.ok, answer.text
        found: dict[str, Any] = answer.json()
        return found


def stack_settings(stack: LocalStack) -> StackSettings:
    """The settings of a running stack."""
    assert stack._supervisor is not None
    return stack._supervisor.settings


def clear_url(settings: StackSettings) -> str:
    """Where the engine itself listens, behind the proxy of a stack that encrypts."""
    return f"http://127.0.0.1:{settings.ports.engine}"


def pair_on(wire: Wire, identity: str, folder: Path) -> tuple[Paired, list[str], list[str]]:
    """Pairs a device over the wire. Returns it, what nobody may read there, and what is never sent."""
    owner = Owner(wire.settings)
    offer = owner.offer(identity, name=f"{identity}-name", display_name=f"{identity}-shown")
    paired = pair_in(folder, offer.code, base_url=wire.base_url)
    signs = read_code(offer.code) or ""
    made = secrets_of(signs)
    digest = digest_of(paired.app_key_file.read_text().strip(), paired.app_id)
    return paired, [made.id, digest, identity], [offer.code, signs, made.engine, made.device]


def pair_in(folder: Path, code: str, *, base_url: str | None = None, timeout: float | None = None) -> Paired:
    """Pairs the device whose files are in this folder."""
    return pair(
        code,
        app_key_file=folder / "app_key",
        ca_file=folder / "engine-ca.pem",
        settings_file=folder / "doorbell.toml",
        base_url=base_url,
        timeout=timeout,
    )


def drafts_in(folder: Path) -> list[str]:
    """What an attempt left behind that did not end."""
    return sorted(path.name for path in folder.glob(".*"))
