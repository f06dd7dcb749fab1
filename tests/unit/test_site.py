"""The site of the pages: it builds without a warning, and needs no network to be read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it."""
    if "CI" not in os.environ:
        pytest.importorskip("mkdocs", reason="mkdocs-material is not installed: make setup")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    run = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


def test_site_when_built_strictly_has_every_page(site: Path) -> None:
    """A page that the navigation leaves out, a link or a heading that is not there, ends the build."""
    for page in DOCS.rglob("*.md"):
        assert (site / page.relative_to(DOCS)).with_suffix(".html").exists()
    assert not list(site.rglob("*.py")), "generators and examples are no part of the site"


def test_site_when_read_without_a_network_misses_nothing(site: Path) -> None:
    """No page asks another host for a script, a style, a font or a picture."""
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for tag in re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", text):
            address = re.search(r"""(?:src|href)=["']?([^"'\s>]+)""", tag)
            assert address is None or "//" not in address[1], f"{page.name}: {tag}"
    for style in site.rglob("*.css"):
        assert not re.search(r"@import|url\(\s*[\"']?(?:https?:)?//", style.read_text(encoding="utf-8")), (
            style
        )
