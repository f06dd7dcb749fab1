"""Says which new commits break the habits: `python tools/check_commits.py`. CI runs it before the tests.

Owns: what a commit must have (CONTRIBUTING.md, "A change"). Standard library and git only. Commits from before
`SINCE` are left alone, and so is what a shallow clone does not hold.

1. The subject has at most 72 characters.
2. The body says why; a fix-up, a revert and a change of at most three lines need none.
3. When the code of utdstream/ or device/ changes, CHANGELOG.md changes too, or the body says that behaviour does
   not. Comments, docstrings and imports are no change of the code.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

SINCE = datetime.fromisoformat("2026-11-29T16:30:00+00:00")
"""When the check began: a commit's own date counts, so a rewritten history is judged alike."""

MAX_SUBJECT = 72
MAX_TRIVIAL_LINES = 3
_NO_BODY_NEEDED = ("fixup!", "squash!", "amend!", 'Revert "')
_UNCHANGED = re.compile(
    r"\bno (?:change (?:of|in|to) behaviou?r|behaviou?r(?:al)? changes?)\b"
    r"|\bbehaviou?r (?:is|stays|remains) (?:unchanged|the same|as it was)\b"
    r"|\bbehaves as before\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit: its id, its two texts, its files (status, old path, new path), how many lines changed."""

    id: str
    subject: str
    body: str
    files: tuple[tuple[str, str, str], ...]
    lines: int


def findings(repository: Path, since: datetime = SINCE) -> Iterator[str]:
    """One sentence for each habit that a commit since then breaks, the newest commit first."""
    for commit in (_commit(repository, each) for each in judged(repository, since)):
        for finding in _judge(repository, commit):
            yield f"{commit.id[:8]} {commit.subject[:50]!r}: {finding}"


def judged(repository: Path, since: datetime = SINCE) -> list[str]:
    """The ids of the commits since then, the newest first."""
    shown = _git(repository, "log", "--no-merges", "--format=%H %ct")
    dated = (line.partition(" ") for line in shown.splitlines())
    return [commit for commit, _, second in dated if int(second) >= since.timestamp()]


def _judge(repository: Path, commit: Commit) -> Iterator[str]:
    fix_up = commit.subject.startswith(_NO_BODY_NEEDED)
    if len(commit.subject) > MAX_SUBJECT and not fix_up:
        yield f"the subject has {len(commit.subject)} characters; at most {MAX_SUBJECT}"
    if not commit.body and not fix_up and commit.lines > MAX_TRIVIAL_LINES:
        yield "there is no body; say why, and what was measured"
    told = any("CHANGELOG.md" in (old, new) for _, old, new in commit.files)
    if not told and not fix_up and not _UNCHANGED.search(" ".join(commit.body.split())):
        changed = next((new for _, old, new in commit.files if _behaves(repository, commit, old, new)), None)
        if changed is not None:
            yield (
                f"{changed} changes and CHANGELOG.md does not; add a line there, "
                'or write "No change in behaviour." in the body'
            )


def _behaves(repository: Path, commit: Commit, old: str, new: str) -> bool:
    """Whether a file of the packages has other code than before."""
    if not new.startswith(("utdstream/", "device/")) or not new.endswith(".py"):
        return False
    return _code(repository, f"{commit.id}~:{old}") != _code(repository, f"{commit.id}:{new}")


def _code(repository: Path, version: str) -> str:
    """The code of one version of a file, without docstrings and imports; nothing when it was not there."""
    try:
        tree = ast.parse(_git(repository, "show", version))
    except (subprocess.CalledProcessError, SyntaxError):
        return ""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.If):
            node.body = [each for each in node.body if not _is_silent(each)]
    return ast.dump(tree)


def _is_silent(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    )


# --- git


def _commit(repository: Path, commit: str) -> Commit:
    subject, _, body = _git(repository, "show", "-s", "--format=%s%n%b", commit).partition("\n")
    files = []
    for line in _git(repository, "show", "--format=", "--name-status", "-M", commit).splitlines():
        status, *paths = line.split("\t")
        files.append((status, paths[0], paths[-1]))
    counts = re.findall(r"^(\d+)\t(\d+)\t", _git(repository, "show", "--format=", "--numstat", commit), re.M)
    return Commit(commit, subject, body.strip(), tuple(files), sum(int(a) + int(b) for a, b in counts))


def _git(repository: Path, *words: str) -> str:
    command = ["git", "-c", "safe.directory=*", "-C", str(repository), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> int:
    """Prints the findings; 1 when there are any."""
    repository = Path(__file__).resolve().parent.parent
    if not (repository / ".git").exists():
        print("commits: there is no git history here; nothing was checked")
        return 0
    found = list(findings(repository))
    for finding in found:
        print(f"commits: {finding}", file=sys.stderr)
    print(f"commits: {len(judged(repository))} since {SINCE:%Y-%m-%d %H:%M} judged, {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
