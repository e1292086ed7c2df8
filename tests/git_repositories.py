"""Real git repositories for tests, made by git itself, with fixed dates so that shas are stable."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_IDENTITY = {
    "GIT_AUTHOR_NAME": "A Tester",
    "GIT_AUTHOR_EMAIL": "tester@example.com",
    "GIT_COMMITTER_NAME": "A Tester",
    "GIT_COMMITTER_EMAIL": "tester@example.com",
    # The tests' repositories must not depend on the settings of the person who runs them.
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


@dataclass(frozen=True, kw_only=True)
class GitRepository:
    """A repository with a work tree at `path`."""

    path: Path

    @property
    def url(self) -> str:
        return self.path.as_uri()

    def git(self, *arguments: str, seconds: int = 1_700_000_000) -> str:
        """What git says. `seconds` is the time of commits and tags, since 1970."""
        date = {"GIT_AUTHOR_DATE": f"@{seconds} +0000", "GIT_COMMITTER_DATE": f"@{seconds} +0000"}
        done = subprocess.run(
            ["git", "-C", str(self.path), *arguments],
            env={**os.environ, **_IDENTITY, **date},
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def write(self, path: str, text: str) -> Path:
        file = self.path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def at(self, ref: str = "main") -> dict[str, str]:
        """The fields of a spec that name this repository."""
        return {"repo": self.url, "ref": ref}

    def commit(
        self,
        message: str,
        files: Mapping[str, str] | None = None,
        *,
        tag: str | None = None,
        seconds: int = 1_700_000_000,
    ) -> str:
        """Writes files and commits everything; returns the commit."""
        for path, text in (files or {}).items():
            self.write(path, text)
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "--allow-empty", "--message", message, seconds=seconds)
        if tag:
            self.git("tag", tag)
        return self.git("rev-parse", "HEAD")


def new_repository(
    path: Path, files: Mapping[str, str] | None = None, *, tag: str | None = None
) -> GitRepository:
    """A repository on the branch `main`, with one commit of the files if there are some."""
    path.mkdir(parents=True)
    repository = GitRepository(path=path)
    repository.git("init", "--quiet", "--initial-branch=main", "--template=")
    if files:
        repository.commit("The first files", files, tag=tag)
    return repository
