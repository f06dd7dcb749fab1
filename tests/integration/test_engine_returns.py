"""Who was banned, or whose key was revoked, comes back with the media token from before: what is still heard."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from engine_site import Asker, Site

from utdstream import Devices, UTDLiveStreamSession, UTDStreamClient
from utdstream._wire import routes
from utdstream.synthetic import ToneMicrophone

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("programs")]
RETURNER = Path(__file__).parent / "programs" / "returner.py"
TIMES = 10
MOST_HEARD_S = 0.7
ENOUGH_S = 0.3
FOR_EVER_S = 1000.0


class Show:
    """A live stream with a host who hums without a pause."""

    def __init__(self, site: Site, name: str) -> None:
        self.site = site
        self.name = name
        key = site.stack.issue_key(f"host-of-{name}", may_host=True)
        self._client = UTDStreamClient(site.stack.app_id, key, base_url=site.stack.base_url)
        self._session: UTDLiveStreamSession | None = None

    def __enter__(self) -> Show:
        self._session = self._client.join_live_stream(
            identity=f"host-of-{self.name}",
            room_name=self.name,
            as_host=True,
            devices=Devices(microphone=ToneMicrophone()),
        )
        self._session.set_microphone(True)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.dispose()

    def mint(self, key: str, identity: str) -> dict[str, str]:
        body = {"identity": identity, "room_name": self.name, "type": "live_stream"}
        answer = self.site.with_headers(X_App_Key=key).ask("POST", routes.TOKEN, body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


def comes_back(minted: dict[str, str], *, times: int) -> tuple[int, float]:
    """How often somebody with this media token is let in, and the seconds of sound that are heard in all."""
    return _listens(minted, times=times, patience_s=1.0, enough_s=FOR_EVER_S)


def hears(minted: dict[str, str]) -> bool:
    """Whether somebody with this media token hears the show; the machine may be slow."""
    return _listens(minted, times=1, patience_s=15.0, enough_s=ENOUGH_S)[1] >= ENOUGH_S


def _listens(minted: dict[str, str], **wanted: float) -> tuple[int, float]:
    run = subprocess.run(
        [sys.executable, str(RETURNER)],
        input=json.dumps({"url": minted["url"], "token": minted["token"], **wanted}),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.stdout, run.stderr[-2000:]
    said = json.loads(run.stdout)
    return said["joined"], said["heard_s"]


def key_id_of(server: Asker, identity: str) -> str:
    rows = server.ask("GET", f"{routes.KEYS}?per_page=100").json()["data"]
    return str(next(row["key_id"] for row in rows if row["identity"] == identity))


@pytest.mark.parametrize("why", ["banned", "revoked"])
def test_listener_when_out_comes_back_again_and_again_hears_next_to_nothing(site: Site, why: str) -> None:
    """Not a moment each time, but a moment in all: after the first return it is not even let in."""
    with Show(site, f"hum-{why}") as show:
        key = site.stack.issue_key(f"thief-{why}")
        minted = show.mint(key, f"thief-{why}")
        assert hears(minted), "it heard the show before"
        if why == "banned":
            body = {"identity": f"thief-{why}", "room_name": show.name}
            assert site.server().ask("POST", routes.BAN, body).status_code == 201
        else:
            key_id = key_id_of(site.server(), f"thief-{why}")
            assert site.server().ask("DELETE", routes.key(key_id)).status_code == 200
        joined, heard_s = comes_back(minted, times=TIMES)
        assert heard_s <= MOST_HEARD_S
        assert joined < TIMES


def test_listener_when_another_key_of_it_was_revoked_stays(site: Site) -> None:
    """The thief is looked for by the key, not by the name alone."""
    with Show(site, "hum-twin") as show:
        stolen, own = site.stack.issue_key("twin"), site.stack.issue_key("twin")
        by_thief, by_owner = show.mint(stolen, "twin"), show.mint(own, "twin")
        rows = site.server().ask("GET", f"{routes.KEYS}?per_page=100").json()["data"]
        ids = [row["key_id"] for row in rows if row["identity"] == "twin"]
        site.server().ask("DELETE", routes.key(ids[-1]))
        assert comes_back(by_thief, times=3)[1] <= MOST_HEARD_S
        assert hears(by_owner)


def test_listener_when_the_ban_is_lifted_is_let_in_again(site: Site) -> None:
    """Though it came back while the ban held, and was looked for all the time."""
    with Show(site, "hum-lifted") as show:
        minted = show.mint(site.stack.issue_key("rowdy"), "rowdy")
        body = {"identity": "rowdy", "room_name": show.name}
        site.server().ask("POST", routes.BAN, body)
        comes_back(minted, times=3)
        site.server().ask("DELETE", routes.BAN, body)
        assert hears(minted)
