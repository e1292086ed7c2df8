"""A git repository as a tree: its pin is a commit. Refs are looked up on the remote with `git
ls-remote`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial

from comfy_errors import InvalidInputError, MismatchError, UnavailableError
from comfy_errors.names import listed, nearest_names
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.tree import FetchContext, Fill, TreeRequest
from runpod_comfy.sources.git.checkout import check_out
from runpod_comfy.sources.git.repository import GitFailedError, GitRepository, commits_of, run_git
from runpod_comfy.sources.kinds import TreeSource

_COMMIT = re.compile(r"[0-9a-f]{40}")
# git shows at least seven digits of a commit.
_SHORT_COMMIT = re.compile(r"[0-9a-f]{7,39}")
_NAMED_AT_MOST = 3


class GitSource(TreeSource):
    """The TreeSource of git repositories."""

    def pin(self, request: TreeRequest, fetch_context: FetchContext) -> str:
        if request.commit is None:
            if request.ref is not None and is_commit(request.ref):
                return request.ref.lower()
            refs = list_refs(request.repo, request.ref, fetch_context)
            whole = whole_commit(refs, request.ref or "", fetch_context)
            return whole or refs.known_commit(request.ref)
        if request.ref is not None and not fetch_context.offline:
            _confirm(request.repo, request.ref, request.commit, fetch_context)
        return request.commit

    def bring(self, request: TreeRequest, fetch_context: FetchContext) -> Fill:
        commit = request.commit or ""
        repository = GitRepository.of(request.repo, fetch_context.cache)
        repository.ensure(commit, fetch_context)
        return partial(check_out, repository, commit, request.subdir, fetch_context)

    def has_file(self, request: TreeRequest, path: str, fetch_context: FetchContext) -> bool:
        commit = request.commit or ""
        repository = GitRepository.of(request.repo, fetch_context.cache)
        if not (fetch_context.offline or repository.has(commit)):
            repository.ensure(commit, fetch_context)
        try:
            found = repository.text("ls-tree", "--full-tree", commit, "--", path)
        except GitFailedError:
            return False
        return found.partition(" ")[2].startswith("blob ")

    def open_ref(self, repo: str, fetch_context: FetchContext) -> str | None:
        """The short name of the branch that HEAD points to; None if HEAD is detached."""
        head = list_refs(repo, None, fetch_context).head
        return head.removeprefix("refs/heads/") if head else None


def warn_of_foreign_commit(request: TreeRequest, fetch_context: FetchContext) -> None:
    """Warns if the commit of a pinned request is not in the history of its ref, because it is from
    a fork or from before a force-push. Does nothing offline.
    """
    if request.ref is None or request.commit is None or fetch_context.offline:
        return
    try:
        _confirm(request.repo, request.ref, request.commit, fetch_context)
    except MismatchError as error:
        fetch_context.say(f"Warning: {error.message}. {error.remedy}")
    except UnavailableError as error:
        fetch_context.say(
            f"Warning: whether {request.commit} is in the history of '{request.ref}' "
            f"could not be checked: {error.message}"
        )


def _confirm(repo: str, ref: str, commit: str, fetch_context: FetchContext) -> None:
    """Checks that a commit given with a ref is in the history of that ref."""
    shown = without_secrets(repo)
    if is_commit(ref):
        if ref.lower() != commit:
            raise MismatchError(
                f"'ref' and 'commit' of {shown} are different commits: {ref} and {commit}",
                remedy="Keep only one of them.",
            )
        return
    refs = list_refs(repo, ref, fetch_context)
    if refs.full_name(ref) is None and is_short_for(ref, commit):
        return
    tip = refs.known_commit(ref)
    if tip == commit:
        return
    try:
        history = commits_of(repo, (refs.full_name(ref) or ref,), cache=fetch_context.cache)
    except GitFailedError as error:
        raise UnavailableError(
            f"the history of '{ref}' in {shown} cannot be read: {error.reason}",
            remedy=error.advice or f"Check your access to it: git ls-remote {shown}",
        ) from error
    if commit not in history:
        raise MismatchError(
            f"commit {commit} is not in the history of '{ref}' in {shown}; "
            "it may come from a fork or from before a force-push",
            remedy="Remove 'ref' to use that commit, or remove 'commit' to use the newest of "
            f"'{ref}' ({tip}).",
        )


@dataclass(frozen=True, kw_only=True)
class RemoteRefs:
    """`commits` maps a full ref name to its commit (annotated tags peeled).

    `head` is the full name of the ref that HEAD points to, or None if it is detached.
    """

    repo: str
    commits: dict[str, str]
    head: str | None

    def full_name(self, ref: str) -> str | None:
        """The full name of a tag, branch or other ref; tags take precedence, as in git."""
        candidates = (ref, f"refs/{ref}", f"refs/tags/{ref}", f"refs/heads/{ref}")
        return next((name for name in candidates if name in self.commits), None)

    def commit_of(self, ref: str) -> str | None:
        """The commit that `full_name` points to."""
        return self.commits.get(self.full_name(ref) or "")

    def known_commit(self, ref: str | None) -> str:
        """The commit of `ref` (None: of HEAD). Raises UnavailableError naming the nearest refs."""
        commit = self.commit_of(ref or "HEAD")
        if commit is None:
            raise _unknown_ref(self, ref)
        return commit

    @property
    def names(self) -> list[str]:
        """Short names of all tags and branches."""
        return [
            name.removeprefix(prefix)
            for prefix in ("refs/heads/", "refs/tags/")
            for name in self.commits
            if name.startswith(prefix)
        ]


def is_commit(ref: str) -> bool:
    """True if a ref is a full commit hash, which is used as it is."""
    return _COMMIT.fullmatch(ref.lower()) is not None


def is_short_for(ref: str, commit: str) -> bool:
    """True if `ref` has the first digits of `commit`, at least seven."""
    return _SHORT_COMMIT.fullmatch(ref.lower()) is not None and commit.startswith(ref.lower())


def whole_commit(refs: RemoteRefs, ref: str, fetch_context: FetchContext) -> str | None:
    """The commit that a short one means, reported; None if `ref` is something else or unknown.

    Raises InvalidInputError if several commits match.
    """
    if not _SHORT_COMMIT.fullmatch(ref.lower()) or refs.full_name(ref) is not None:
        return None
    shown = without_secrets(refs.repo)
    found = {commit for commit in refs.commits.values() if is_short_for(ref, commit)}
    if not found:
        fetch_context.say(f"Looking for the commit {ref} in the history of {shown}")
        try:
            history = commits_of(
                refs.repo, ("refs/heads/*", "refs/tags/*"), cache=fetch_context.cache
            )
        except GitFailedError as error:
            raise error.unreachable(refs.repo) from error
        found = {commit for commit in history if is_short_for(ref, commit)}
    if len(found) > 1:
        raise InvalidInputError(
            f"{shown} has {len(found)} commits that start with '{ref}'",
            remedy=f"Use one of them: {listed(sorted(found), at_most=_NAMED_AT_MOST)}.",
        )
    for commit in found:
        fetch_context.say(f"'{ref}' of {shown} is the commit {commit}")
    return next(iter(found), None)


def list_refs(repo: str, ref: str | None, fetch_context: FetchContext) -> RemoteRefs:
    """HEAD, branches and tags of a repository, and `ref` if it is another kind of ref.

    Raises UnavailableError if the repository cannot be read.
    """
    fetch_context.need_network(f"the refs of {without_secrets(repo)} cannot be looked up offline")
    patterns = ["HEAD", "refs/heads/*", "refs/tags/*"]
    if ref is not None and "/" in ref:
        patterns += [ref, f"refs/{ref}"]
    try:
        output = run_git(["ls-remote", "--symref", "--", repo, *patterns])
    except GitFailedError as error:
        raise error.unreachable(repo) from error
    return _parse(repo, output.decode("utf-8", "replace"))


def _parse(repo: str, output: str) -> RemoteRefs:
    commits: dict[str, str] = {}
    peeled: dict[str, str] = {}
    head = None
    for line in output.splitlines():
        value, _, name = line.partition("\t")
        if value.startswith("ref: ") and name == "HEAD":
            head = value.removeprefix("ref: ")
        elif name.endswith("^{}"):
            peeled[name.removesuffix("^{}")] = value
        elif _COMMIT.fullmatch(value):
            commits[name] = value
    return RemoteRefs(repo=repo, commits=commits | peeled, head=head)


def _unknown_ref(refs: RemoteRefs, ref: str | None) -> UnavailableError:
    repo = without_secrets(refs.repo)
    if not refs.commits:
        return UnavailableError(
            f"the git repository {repo} is empty", remedy="Push a commit to it first."
        )
    if ref is None:
        return UnavailableError(
            f"the git repository {repo} has no default branch",
            remedy=f"Name one: {listed(refs.names, at_most=_NAMED_AT_MOST)}.",
        )
    near = nearest_names(ref, refs.names)
    return UnavailableError(
        f"the git repository {repo} has no branch{_or_commit(ref)} '{ref}'",
        remedy=f"Similar names: {', '.join(near)}."
        if near
        else f"It has: {listed(refs.names, at_most=_NAMED_AT_MOST)}.",
    )


def _or_commit(ref: str) -> str:
    if not _SHORT_COMMIT.fullmatch(ref.lower()):
        return " or tag"
    return " or tag, and no commit in the history of one,"
