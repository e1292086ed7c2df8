"""The refs of a remote git repository: `git ls-remote`, and what a name means there."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from comfy_errors import UnavailableError
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.sources.git.process import GitFailedError, run_git

_COMMIT = re.compile(r"[0-9a-f]{40}")
_NAMED_AT_MOST = 3


@dataclass(frozen=True, kw_only=True)
class RemoteRefs:
    """`commits` maps a full ref name to its commit (annotated tags peeled).

    `head` is the full name of the ref that HEAD points to, or None when it is detached.
    """

    repo: str
    commits: dict[str, str]
    head: str | None

    def full_name(self, ref: str) -> str | None:
        """The full name of a tag, branch or other ref; a tag goes before a branch, as in git."""
        candidates = (ref, f"refs/{ref}", f"refs/tags/{ref}", f"refs/heads/{ref}")
        return next((name for name in candidates if name in self.commits), None)

    def commit_of(self, ref: str) -> str | None:
        """The commit that `full_name` leads to."""
        name = self.full_name(ref)
        return None if name is None else self.commits[name]

    @property
    def names(self) -> list[str]:
        """Short names of all tags and branches."""
        prefixes = ("refs/heads/", "refs/tags/")
        return [
            name.removeprefix(prefix)
            for prefix in prefixes
            for name in self.commits
            if name.startswith(prefix)
        ]


def is_commit(ref: str) -> bool:
    """Whether a ref is a whole commit, which is taken as it is."""
    return _COMMIT.fullmatch(ref.lower()) is not None


def list_refs(repo: str, ref: str | None, fetch_context: FetchContext) -> RemoteRefs:
    """HEAD, branches and tags of a repository, and `ref` if it is another kind of ref.

    Raises UnavailableError if the repository cannot be read.
    """
    shown = without_secrets(repo)
    if fetch_context.offline:
        raise UnavailableError(
            f"the refs of {shown} cannot be looked up offline",
            remedy="Run the command once without --offline.",
        )
    patterns = ["HEAD", "refs/heads/*", "refs/tags/*"]
    if ref is not None and "/" in ref:
        patterns += [ref, f"refs/{ref}"]
    try:
        output = run_git(["ls-remote", "--symref", "--", repo, *patterns])
    except GitFailedError as error:
        raise UnavailableError(
            f"the git repository {shown} cannot be read: {error.reason}",
            remedy=f"Check the address and your access to it: git ls-remote {shown}",
        ) from error
    return _parse(repo, output.decode("utf-8", "replace"))


def resolve_ref(repo: str, ref: str | None, fetch_context: FetchContext) -> str:
    """The commit of `ref` (None: of HEAD). Raises UnavailableError naming the nearest refs."""
    if ref is not None and is_commit(ref):
        return ref.lower()
    refs = list_refs(repo, ref, fetch_context)
    commit = refs.commit_of(ref or "HEAD")
    if commit is None:
        raise _unknown_ref(refs, ref)
    return commit


def default_branch(repo: str, fetch_context: FetchContext) -> str | None:
    """The short name of the branch that HEAD points to; None when HEAD is detached."""
    head = list_refs(repo, None, fetch_context).head
    return head.removeprefix("refs/heads/") if head else None


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
            remedy=f"Name one: {', '.join(refs.names[:_NAMED_AT_MOST])}.",
        )
    begun = _begun_with(refs, ref)
    if begun is not None:
        return UnavailableError(
            f"'{ref}' is not a branch or tag of {repo}, and a commit must be given whole",
            remedy=f"Write {begun[1]} (the commit of '{begun[0]}').",
        )
    near = nearest_names(ref, refs.names)
    return UnavailableError(
        f"the git repository {repo} has no branch or tag '{ref}'",
        remedy=f"The nearest are: {', '.join(near)}."
        if near
        else f"It has, among others: {', '.join(refs.names[:_NAMED_AT_MOST])}.",
    )


def _begun_with(refs: RemoteRefs, ref: str) -> tuple[str, str] | None:
    if not re.fullmatch(r"[0-9a-f]{7,39}", ref.lower()):
        return None
    return next(
        ((name, commit) for name, commit in refs.commits.items() if commit.startswith(ref.lower())),
        None,
    )


def nearest_names(wanted: str, names: list[str]) -> list[str]:
    """The names that `wanted` was probably meant to be, the nearest first."""
    folded = {name.casefold(): name for name in names}
    near = difflib.get_close_matches(wanted.casefold(), folded, n=_NAMED_AT_MOST, cutoff=0.5)
    return [folded[name] for name in near]
