"""Bare repositories in the cache, filled commit by commit with as little history as possible."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comfy_errors import UnavailableError
from comfy_files.progress import Say, TransferLines
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext, slug_of
from runpod_comfy.sources.git.process import GitFailedError, run_git

_KEPT = "refs/kept"
_UNITS = {b"bytes": 1, b"KiB": 1 << 10, b"MiB": 1 << 20, b"GiB": 1 << 30}
_RECEIVED = re.compile(rb"Receiving objects: [^\r\n]*?, ([\d.]+) (bytes|KiB|MiB|GiB)")
NO_COMMIT = ("not our ref", "couldn't find remote ref", "no such remote ref")
# Old servers only serve commits that a ref names, and plain web servers no shallow history.
_REFUSALS = ("unadvertised object", "dumb http", "does not support shallow")


@dataclass(frozen=True, kw_only=True)
class GitRepository:
    """The cached copy of `repo`; `path` is its git directory."""

    repo: str
    path: Path

    @classmethod
    def of(cls, repo: str, cache: Cache) -> GitRepository:
        return cls(repo=repo, path=cache.git / f"{slug_of(repo)}.git")

    def has(self, commit: str) -> bool:
        """True if the commit is here with all its files."""
        if not self.path.is_dir():
            return False
        try:
            self.bytes_of("rev-parse", "--quiet", "--verify", f"{_KEPT}/{commit}^{{commit}}")
        except GitFailedError:
            return False
        return True

    def ensure(self, commit: str, fetch_context: FetchContext) -> None:
        """Fetches one commit, unless it is already here.

        Raises UnavailableError if the repository does not have it or cannot be reached.
        """
        if self.has(commit):
            return
        fetch_context.need_network(
            f"commit {commit} of {without_secrets(self.repo)} is not in the cache, and network "
            "access is off (--offline)"
        )
        cache = fetch_context.cache
        with cache.writing(), cache.key_lock(str(self.path)):
            # Locks of a killed git are removed first; it may have been killed during
            # initialisation.
            for stale in (*self.path.glob("*.lock"), *(self.path / "refs").rglob("*.lock")):
                stale.unlink(missing_ok=True)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            init_bare(self.path)
            if not self.has(commit):
                self._fetch_commit(commit, fetch_context.say)

    def text(self, *arguments: str) -> str:
        """The output of a git command in this repository, without the last newline."""
        return self.bytes_of(*arguments).decode("utf-8", "replace").rstrip("\n")

    def bytes_of(self, *arguments: str) -> bytes:
        """The output of a git command in this repository."""
        return run_git(arguments, repository=self.path)

    def _fetch_commit(self, commit: str, say: Say) -> None:
        try:
            self._fetch(["--depth=1"], [f"{commit}:{_KEPT}/{commit}"], say)
        except GitFailedError as error:
            if any(sign in error.reason for sign in NO_COMMIT):
                raise self._no_commit(commit) from error
            if not any(sign in error.reason for sign in _REFUSALS):
                raise error.unreachable(self.repo) from error
            self._fetch_everything(commit, say)

    def _fetch_everything(self, commit: str, say: Say) -> None:
        options = ["--unshallow"] if (self.path / "shallow").exists() else []
        try:
            self._fetch(options, ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"], say)
        except GitFailedError as error:
            raise error.unreachable(self.repo) from error
        try:
            self.bytes_of("update-ref", f"{_KEPT}/{commit}", commit)
        except GitFailedError as error:
            raise self._no_commit(commit) from error

    def _fetch(self, options: list[str], refspecs: list[str], say: Say) -> None:
        lines = TransferLines(say, without_secrets(self.repo), None)
        arguments = ["fetch", "--progress", "--no-tags", "--force", *options]
        arguments += ["--", self.repo, *refspecs]
        run_git(
            arguments, repository=self.path, on_output=lambda chunk: _note_received(chunk, lines)
        )

    def _no_commit(self, commit: str) -> UnavailableError:
        return UnavailableError(
            f"the git repository {without_secrets(self.repo)} has no commit {commit}",
            remedy="Check 'commit' and 'ref'; a force-push may have removed it there.",
        )


def _note_received(progress: bytes, lines: TransferLines) -> None:
    """Reads git's `Receiving objects:  45% (9/20), 12.30 MiB | 5.10 MiB/s`."""
    for number, unit in _RECEIVED.findall(progress):
        lines.note(round(float(number) * _UNITS[unit]))


def init_bare(path: Path) -> None:
    """Creates an empty repository, unless there is one. Raises GitFailedError."""
    run_git(["init", "--quiet", "--bare", "--template=", "--", str(path)])


def commits_of(repo: str, refs: Sequence[str], *, cache: Cache) -> set[str]:
    """The commits in the history of some refs (full names or patterns) of a remote repository.

    A forge serves the commits of forks too, and only serves whole commits. If the server supports
    it, only commits are fetched, without files, into a temporary repository: a filter marks a
    repository permanently. Raises GitFailedError.
    """
    fetch = ["fetch", "--progress", "--no-tags", "--filter=tree:0", "--", repo]
    with cache.scratch("history") as path:
        init_bare(path)
        run_git([*fetch, *(f"{ref}:refs/asked/{ref}" for ref in refs)], repository=path)
        # Walks from these refs, so that nothing missing is requested from the server.
        commits = run_git(["rev-list", "--glob=refs/asked/*"], repository=path)
    return set(commits.decode("ascii").split())
