"""A key in a file of its own: what is wrong with it, in one sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from authority import Authority

from utdstream.errors import InvalidConfig
from utdstream.secret_file import read_secret


def test_secret_when_it_stands_alone_is_read_without_its_line_end(tmp_path: Path) -> None:
    """An editor puts one there."""
    (tmp_path / "key").write_text("ak_0123\r\n")
    assert read_secret(tmp_path / "key", "the app key") == "ak_0123"


@pytest.mark.parametrize(
    ("held", "words"),
    [
        (None, "no such file or directory"),
        (b"\n", "is empty"),
        (b"ak_0123\nak_4567\n", "in one line"),
        (b"\xff\xfe", "is no text"),
    ],
)
def test_secret_when_its_file_is_wrong_is_one_sentence_with_the_path_once(
    tmp_path: Path, held: bytes | None, words: str
) -> None:
    """No number of an error, and nothing of what the file holds."""
    file = tmp_path / "key"
    if held is not None:
        file.write_bytes(held)
    with pytest.raises(InvalidConfig, match=words) as caught:
        read_secret(file, "the app key")
    assert caught.value.message.count(str(file)) == 1
    assert "Errno" not in caught.value.message
    assert "ak_" not in caught.value.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file: run as another user")
def test_secret_when_it_may_not_be_read_says_so(tmp_path: Path) -> None:
    """A key that belongs to the service."""
    (tmp_path / "key").touch(0)
    with pytest.raises(InvalidConfig, match="permission denied"):
        read_secret(tmp_path / "key", "the app key")


def test_secret_when_a_certificate_is_given_in_its_place_says_so(
    tmp_path: Path, authority: Authority
) -> None:
    """`engine up --tls` prints two files, and both end up on a device."""
    with pytest.raises(InvalidConfig, match=r"holds a certificate or a key of TLS \(PEM\)"):
        read_secret(authority.ca_file, "the app key")
