"""Lines put into somebody's settings file: they are in force, and all else is as it was."""

from __future__ import annotations

import tomllib

import pytest

from device.examples import example
from utdstream._settings_lines import Tables, with_lines
from utdstream.errors import InvalidConfig

WANTED: Tables = {
    "engine": {"base_url": "https://[::1]:8443", "app_id": "1", "ca_file": None},
    "device": {"identity": "tür", "name": 'the "front" door'},
}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# mine\n",
        '[device]\nidentity = "x" # old\n\n[audio]\nvolume = 0.5\n',
        '[audio]\n[engine]\n  app_id="2"\nca_file = "old.pem"\n[[more]]\na = 1',
        'top = 1\n[ engine ] # here\n#app_id = "3"\n# a comment\n',
        '# a\u2028b\x85c\n[audio]\r\nname = "x\u2028y"\r\n',
        "[engine.deeper]\na = [\n 1,\n]\n",
        example("doorbell"),
        example("kiosk"),
    ],
)
def test_settings_when_lines_are_put_in_keep_all_else(text: str) -> None:
    """Each line of before that is not one of these keys stands there still."""
    edited = with_lines(text, WANTED)
    before, after = tomllib.loads(text), tomllib.loads(edited)
    assert after["engine"]["base_url"] == "https://[::1]:8443"
    assert "ca_file" not in after["engine"]
    assert after["device"]["name"] == 'the "front" door'
    for name in before.keys() - WANTED.keys():
        assert after[name] == before[name]
    kept = [
        line
        for line in text.split("\n")
        if not any(word in line for word in ("app_id", "base_url", "ca_file", "identity =", "name ="))
    ]
    assert [line for line in kept if line not in edited.split("\n")] == []
    assert with_lines(edited, WANTED) == edited, "once more changes nothing"


@pytest.mark.parametrize(
    "text",
    [
        "engine = {app_id = '1'}\n",
        "engine.app_id = '1'\n",
        "[engine]\nbase_url = '''\nmany\nlines'''\n",
        "[engine]\n\"app_id\" = '1'\n",
        "this is not TOML",
        "engine = 3",
    ],
)
def test_settings_when_written_in_another_way_are_refused_whole(text: str) -> None:
    """Rather than changed into something else; the sentence says what to put in by hand."""
    with pytest.raises(InvalidConfig):
        with_lines(text, WANTED)
