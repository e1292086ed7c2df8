"""Compares one tree of a lock with its source (moved, gone, yanked or unchanged), and defines the
findings for any part of a lock.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.version import Version

from comfy_errors import ComfyError, InvalidInputError, UnavailableError
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.tree import FetchContext, TreeRequest
from runpod_comfy.lock.model import LockedTree
from runpod_comfy.sources.git.repository import NO_COMMIT, GitFailedError, init_bare, run_git
from runpod_comfy.sources.git.source import RemoteRefs, is_commit, is_short_for, list_refs
from runpod_comfy.sources.index.files import Index
from runpod_comfy.sources.index.pip_settings import (
    local_path_of,
    read_pip_settings,
    web_client,
)
from runpod_comfy.sources.kinds import source_of
from runpod_comfy.spec.model import Tree

# git's and the forges' messages for a repository that does not exist or is not accessible.
_NO_REPOSITORY = (
    "not found",
    "does not appear to be a git repository",
    "does not exist",
    "could not read Username",
    "Authentication failed",
    "access denied",
    "Permission denied",
)
_GONE = (404, 410)
_WITHDRAWN = {
    "NodeVersionStatusFlagged": "was flagged by the registry's security scan",
    "NodeVersionStatusBanned": "was banned by the registry",
    "NodeVersionStatusDeleted": "was deleted by its author",
}


Part = Literal["spec", "core", "nodes", "python", "models"]


@dataclass(frozen=True, kw_only=True)
class DriftFinding:
    """One sentence, and what to do about it. `before` is the value in the lock, `after` the value
    now, if they are short.
    """

    part: str
    name: str
    message: str
    remedy: str
    before: str | None = None
    after: str | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The result of one check. If both are empty, nothing changed."""

    moved: tuple[DriftFinding, ...] = ()
    unanswered: tuple[DriftFinding, ...] = ()


def answer(part: Part, name: str, look: Callable[[], Iterable[DriftFinding]]) -> Answer:
    """The findings of `look`; if it raises UnavailableError, there was no answer."""
    try:
        return Answer(moved=tuple(look()))
    except UnavailableError as error:
        finding = DriftFinding(part=part, name=name, message=error.message, remedy=error.remedy)
        return Answer(unanswered=(finding,))


@dataclass(frozen=True, kw_only=True)
class LockedPlace:
    """A tree of the lock, and its entry in the spec (None if there is none)."""

    part: Literal["core", "nodes"]
    name: str
    tree: LockedTree
    asked: Tree | None
    version_id: str
    fetch_context: FetchContext

    @property
    def is_local(self) -> bool:
        """True if it can be checked without the network."""
        tree = self.tree
        return tree.kind == "folder" or (tree.kind == "archive" and tree.repo.startswith("file:"))

    def look(self) -> Answer:
        """The findings for this tree."""
        looks = {
            "git": self._at_git,
            "pypi": self._at_distribution,
            "archive": lambda: self._at_address(self.tree.repo),
            "registry": self._at_registry,
            "folder": self._at_folder,
        }
        return answer(self.part, self.name, looks[self.tree.kind])

    @property
    def _shown(self) -> str:
        return without_secrets(self.tree.repo)

    @property
    def _pinned_by_spec(self) -> bool:
        return self.asked is not None and self.asked.commit is not None

    def _at_git(self) -> Iterator[DriftFinding]:
        try:
            refs = list_refs(self.tree.repo, self.tree.ref, self.fetch_context)
        except UnavailableError as error:
            yield self._gone_repository(self._shown, error)
            return
        moved = list(self._moved_ref(refs))
        yield from moved
        if not moved and not _is_served(refs, self.tree.commit):
            yield self._found(
                f"{self._shown} no longer has the commit {self.tree.commit}",
                self._upgrade("Caches may still have it. Another commit: "),
            )
        yield from self._at_submodules()

    def _moved_ref(self, refs: RemoteRefs) -> Iterator[DriftFinding]:
        ref, commit = self.tree.ref, self.tree.commit
        if is_commit(ref) if ref else self._pinned_by_spec:
            return
        now = refs.commit_of(ref or "HEAD")
        title = f"'{ref}'" if ref else "the default branch"
        if now is None and is_short_for(ref or "", commit):
            return
        if now is None:
            yield self._found(
                f"{self._shown} no longer has {title}",
                "Use another 'ref' in the spec, or remove it to stay at the commit.",
            )
        elif now != commit:
            remedy = self._upgrade("Accept it with: ")
            if (refs.full_name(ref or "HEAD") or "").startswith("refs/tags/"):
                if self._pinned_by_spec:
                    remedy = f"To accept it, set 'commit': '{now}' in the spec."
                remedy = f"A tag should not move: find out why. {remedy}"
            held = "" if _is_served(refs, commit) else ", which is gone from there"
            yield self._found(
                f"{title} of {self._shown} is now {now}, the lock has {commit}{held}",
                remedy,
                after=now,
            )

    def _at_submodules(self) -> Iterator[DriftFinding]:
        for module in self.tree.submodules:
            shown = f"{without_secrets(module.repo)} (submodule {module.path})"
            try:
                refs = list_refs(module.repo, None, self.fetch_context)
            except UnavailableError as error:
                yield self._gone_repository(shown, error)
                continue
            if not _is_served(refs, module.commit):
                yield self._found(
                    f"{shown} no longer has {module.commit}",
                    self._upgrade("Caches may still have it. Another commit of the node: "),
                )

    def _gone_repository(self, shown: str, error: UnavailableError) -> DriftFinding:
        """Raises the error again unless it says that the repository is gone."""
        reason = error.__cause__.reason if isinstance(error.__cause__, GitFailedError) else ""
        if not any(sign in reason for sign in _NO_REPOSITORY):
            raise error
        return self._found(
            f"the repository {shown} is gone, or you have no access: {reason}",
            "Use another 'repo' in the spec, such as a fork; caches may still have the commit.",
        )

    def _at_distribution(self) -> Iterator[DriftFinding]:
        name = self.tree.repo.removeprefix("pypi://")
        offered = Index(settings=read_pip_settings()).look_up([name])[name]
        if isinstance(offered, UnavailableError):
            raise offered
        version = self.tree.ref or ""
        files = [file for file in offered if Version(file.version) == Version(version)]
        pinned = [file for file in files if f"sha256:{file.sha256}" == self.tree.commit]
        withdrawn = [file.yanked for file in pinned if file.yanked is not None]
        other = "Set 'ref' in the spec to another version; caches may still have this one."
        if not files:
            what = f"the version {version}" if offered else "any version"
            yield self._found(f"the index no longer has {what} of {self._shown}", other)
        elif not pinned and all(file.sha256 for file in files):
            yield self._found(
                f"no file of {self._shown}@{version} on the index is {self.tree.commit}",
                f"Find out why its bytes changed. {other}",
            )
        elif withdrawn:
            message = f"{self._shown}@{version} was yanked by its authors: {withdrawn[0]}"
            yield self._found(message, other)

    def _at_registry(self) -> Iterator[DriftFinding]:
        from runpod_comfy.sources.registry import Registry

        node, version = self.tree.repo.removeprefix("comfy://"), self.tree.ref or ""
        registry = Registry.from_environment()
        try:
            found = registry.version_of(node, version)
        except UnavailableError as error:
            if error.__cause__ is not None:
                raise
            yield self._found(error.message, error.remedy)
            return
        if found.status in _WITHDRAWN:
            yield self._found(
                f"{self._shown}@{version} {_WITHDRAWN[found.status]}",
                "Set 'ref' in the spec to another version.",
            )
        else:
            yield from self._at_address(registry.archive_url(node, found))

    def _at_address(self, url: str) -> Iterator[DriftFinding]:
        path = local_path_of(url)
        if path.is_file() if path else _answers(url):
            return
        yield self._found(
            f"the archive {without_secrets(url)} is gone",
            "Use another URL in the spec; caches may still have the archive.",
        )

    def _at_folder(self) -> Iterator[DriftFinding]:
        request = TreeRequest(repo=self.tree.repo, subdir=self.tree.subdir)
        try:
            now = source_of("folder").pin(request, self.fetch_context)
        except (UnavailableError, InvalidInputError) as error:
            yield self._found(error.message, "Put it back, or correct 'repo' in the spec.")
            return
        except ComfyError as error:
            raise UnavailableError(error.message, remedy=error.remedy) from error
        if now != self.tree.commit:
            plain = f"Accept the change with: runpod-comfy resolve {self.version_id}"
            yield self._found(
                f"the folder {self.tree.repo} was changed since the lock was made",
                self._upgrade("Accept it with: ") if self._pinned_by_spec else plain,
                after=now,
            )

    def _upgrade(self, words: str) -> str:
        return f"{words}runpod-comfy resolve {self.version_id} --upgrade {self.name}"

    def _found(self, message: str, remedy: str, *, after: str | None = None) -> DriftFinding:
        return DriftFinding(
            part=self.part,
            name=self.name,
            message=f"{self.name}: {message}",
            remedy=remedy,
            before=self.tree.commit,
            after=after,
        )


def _answers(url: str) -> bool:
    """True if a web server still has the URL. Raises UnavailableError if it does not answer."""
    import requests

    client = web_client(remedy="Check the network and the proxy.")
    try:
        # Not HEAD, which servers reject for signed URLs; the body is not read.
        with client.session() as session, client.send(session, "GET", url, stream=True) as response:
            if response.status_code in _GONE:
                return False
            response.raise_for_status()
    except requests.RequestException as error:
        raise client.unreachable(url, error) from error
    return True


def _is_served(refs: RemoteRefs, commit: str) -> bool:
    """True if the repository still serves the commit, or if it does not answer.

    Fetched into a temporary folder, without files if the server supports that.
    """
    if commit in refs.commits.values():
        return True
    with tempfile.TemporaryDirectory(prefix="runpod-comfy-look-") as folder:
        repository = Path(folder)
        init_bare(repository)
        try:
            options = ["--no-tags", "--depth=1", "--filter=tree:0"]
            run_git(["fetch", *options, "--", refs.repo, commit], repository=repository)
        except GitFailedError as error:
            return not any(sign in error.reason for sign in NO_COMMIT)
    return True
