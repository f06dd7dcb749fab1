"""The check of new commits, on small repositories of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import check_commits  # noqa: E402

LONG_AGO = datetime(2000, 1, 1, tzinfo=timezone.utc)
CODE = "def ring() -> int:\n    return 1\n"


class Repository:
    """A git repository in a folder, to which commits are added."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "-q")
        self.commit("Begin", "Because.", {"utdstream/ring.py": CODE, "CHANGELOG.md": "- It rings.\n"})

    def git(self, *words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *who, *words], cwd=self.folder, check=True, capture_output=True)

    def commit(self, subject: str, body: str, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", subject, *(("-m", body) if body else ()))

    def findings(self) -> list[str]:
        return list(check_commits.findings(self.folder, LONG_AGO))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_commit_when_it_has_subject_body_and_changelog_is_fine(repository: Repository) -> None:
    """A change of behaviour that says so."""
    repository.commit(
        "Ring twice",
        "One was missed.",
        {"utdstream/ring.py": CODE * 2, "CHANGELOG.md": "- It rings twice.\n"},
    )
    assert repository.findings() == []


def test_commit_when_its_subject_is_long_is_named(repository: Repository) -> None:
    """72 characters are fine, 73 are not."""
    repository.commit("a" * 72, "Because.", {"one.txt": "1\n"})
    repository.commit("b" * 73, "Because.", {"two.txt": "2\n"})
    (finding,) = repository.findings()
    assert "has 73 characters" in finding


def test_commit_when_it_has_no_body_is_named_but_for_small_ones_and_fix_ups(repository: Repository) -> None:
    """Four lines want a reason; three do not, and neither does what will be folded into another commit."""
    repository.commit("Add three lines", "", {"three.txt": "1\n2\n3\n"})
    repository.commit("fixup! Add three lines", "", {"ten.txt": "1\n" * 10})
    assert repository.findings() == []
    repository.commit("Add four lines", "", {"four.txt": "1\n2\n3\n4\n"})
    (finding,) = repository.findings()
    assert "no body" in finding


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        ("Clearer.", True),
        ("Clearer. No change in behaviour.", False),
        ("Clearer; no change\nin behavior.", False),
        ("The behaviour stays as it was.", False),
    ],
)
def test_commit_when_code_changes_without_a_changelog_line_must_say_so(
    repository: Repository, body: str, changed: bool
) -> None:
    """A refactoring says that nothing behaves otherwise."""
    repository.commit("Write the ring anew", body, {"utdstream/ring.py": CODE.replace("1", "2 - 1")})
    assert ["CHANGELOG.md does not" in finding for finding in repository.findings()] == [True] * changed


def test_commit_when_only_words_and_imports_change_needs_no_changelog_line(repository: Repository) -> None:
    """A docstring, a comment, an import and a move leave the code as it is."""
    words = '"""Rings."""\n\nimport os\n\n\ndef ring() -> int:\n    """Once."""\n    return 1  # once\n'
    repository.commit("Say what it does", "It was not said.", {"utdstream/ring.py": words})
    repository.git("mv", "utdstream/ring.py", "utdstream/bell.py")
    repository.commit("Move the ring", "It is a bell.", {})
    assert repository.findings() == []


def test_commit_when_older_than_the_check_is_left_alone(repository: Repository) -> None:
    """Nobody rewrites history for a habit that came later."""
    repository.commit("c" * 99, "", {"utdstream/ring.py": CODE * 3})
    tomorrow = datetime.now(timezone.utc) + timedelta(days=1)
    assert list(check_commits.findings(repository.folder, tomorrow)) == []
    assert repository.findings() != []


def test_history_of_this_project_when_checked_breaks_no_habit() -> None:
    """What CI asks of a clone; a copy without its history is not asked."""
    run = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "check_commits.py")], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    assert re.match(r"commits: \d+ since .+ judged, 0 findings|commits: there is no git history", run.stdout)
