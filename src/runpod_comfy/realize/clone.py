"""A working copy of the core for people who develop in it: with `.git`, so that they can pull."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from comfy_errors import InvalidInputError, OperationFailedError
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.tree import FetchContext, TreeRequest
from runpod_comfy.sources.git.process import GitFailedError, run_git
from runpod_comfy.sources.git.refs import default_branch, is_commit, list_refs
from runpod_comfy.sources.git.repository import GitRepository
from runpod_comfy.sources.kinds import source_of
from runpod_comfy.spec.text import check_repo, tree_kind


@dataclass(frozen=True, kw_only=True)
class GitCore:
    """A commit that is in the cache; `branch` is what it was asked for by, None for a tag."""

    repository: GitRepository
    commit: str
    branch: str | None


@dataclass(frozen=True, kw_only=True)
class PlainCore:
    """A tree in the cache that is not from git."""

    folder: Path


def bring_core(repo: str, ref: str | None, fetch_context: FetchContext) -> GitCore | PlainCore:
    """Brings `repo` at `ref` (its default branch if None) into the cache, that commit alone.

    Raises InvalidInputError for an address that is not safe or not known, and what the sources
    raise.
    """
    try:
        kind = tree_kind(check_repo(repo))
    except ValueError as error:
        raise InvalidInputError(
            f"the address {without_secrets(repo)} {error}",
            remedy="Name a git repository, a folder, or 'pypi://' and a distribution.",
        ) from error
    source = source_of(kind)
    if kind != "git":
        commit = source.pin(TreeRequest(repo=repo, ref=ref), fetch_context)
        request = TreeRequest(repo=repo, ref=ref, commit=commit)
        return PlainCore(folder=source.fetch(request, fetch_context).path)
    ref = ref or default_branch(repo, fetch_context)
    commit = source.pin(TreeRequest(repo=repo, ref=ref), fetch_context)
    repository = GitRepository.of(repo, fetch_context.cache)
    repository.ensure(commit, fetch_context)
    return GitCore(repository=repository, commit=commit, branch=_branch(repo, ref, fetch_context))


def put_core(core: GitCore | PlainCore, folder: Path, staging: Path) -> None:
    """Makes the working copy at `folder`; a branch is checked out as one that follows the remote.

    `staging` is a scratch folder on the same volume.
    """
    shutil.rmtree(staging, ignore_errors=True)
    if isinstance(core, PlainCore):
        shutil.copytree(core.folder, staging, symlinks=True)
    else:
        _check_out(core, staging)
    staging.replace(folder)


def _branch(repo: str, ref: str | None, fetch_context: FetchContext) -> str | None:
    """The branch that `ref` names, None if it names a tag or a commit."""
    if ref is None or is_commit(ref):
        return None
    full_name = list_refs(repo, ref, fetch_context).full_name(ref) or ""
    heads = "refs/heads/"
    return full_name.removeprefix(heads) if full_name.startswith(heads) else None


def _check_out(core: GitCore, folder: Path) -> None:
    def git(*arguments: str) -> None:
        run_git(["--work-tree", str(folder), *arguments], repository=folder / ".git")

    try:
        folder.mkdir(parents=True)
        run_git(["init", "--quiet", "--", str(folder)])
        kept = f"refs/kept/{core.commit}"
        git("fetch", "--quiet", "--depth=1", "--", core.repository.path.as_uri(), kept)
        git("remote", "add", "--", "origin", core.repository.repo)
        if core.branch is None:
            git("checkout", "--quiet", "--detach", core.commit)
        else:
            git("update-ref", f"refs/remotes/origin/{core.branch}", core.commit)
            git("checkout", "--quiet", "-B", core.branch, "--track", f"origin/{core.branch}")
    except GitFailedError as error:
        raise OperationFailedError(
            f"{folder} could not be checked out: {error.reason}",
            remedy="Check the room and the permissions there, then run the command again.",
        ) from error
