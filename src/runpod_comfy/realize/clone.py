"""A working copy of the core for people who develop in it: with `.git`, so that they can pull."""

from __future__ import annotations

import shutil
from pathlib import Path

from comfy_errors import OperationFailedError
from runpod_comfy.sources.git_process import GitFailedError, run_git
from runpod_comfy.sources.git_refs import default_branch, is_commit, list_refs
from runpod_comfy.sources.git_repository import GitRepository
from runpod_comfy.sources.kinds import source_of
from runpod_comfy.sources.tree import Surroundings, TreeRequest
from runpod_comfy.spec.text import tree_kind


def clone_core(
    repo: str, ref: str | None, folder: Path, staging: Path, surroundings: Surroundings
) -> str:
    """Puts `repo` at `ref` (its default branch if None) into `folder`; gives the commit.

    The commit alone is fetched, through the cache. A branch is checked out as one that follows
    the remote one. A tree that is not from git is copied.
    `staging` is a scratch folder on the same volume. Raises what the sources raise.
    """
    source = source_of(tree_kind(repo))
    shutil.rmtree(staging, ignore_errors=True)
    if tree_kind(repo) != "git":
        request = TreeRequest(repo=repo, ref=ref)
        commit = source.pin(request, surroundings)
        fetched = source.fetch(TreeRequest(repo=repo, ref=ref, commit=commit), surroundings)
        shutil.copytree(fetched.path, staging, symlinks=True)
    else:
        ref = ref or default_branch(repo, surroundings)
        commit = source.pin(TreeRequest(repo=repo, ref=ref), surroundings)
        repository = GitRepository.of(repo, surroundings.cache)
        repository.ensure(commit, surroundings)
        _check_out(repository, commit, _branch(repo, ref, surroundings), staging)
    staging.replace(folder)
    return commit


def _branch(repo: str, ref: str | None, surroundings: Surroundings) -> str | None:
    """The branch that `ref` names, None if it names a tag or a commit."""
    if ref is None or is_commit(ref):
        return None
    full_name = list_refs(repo, ref, surroundings).full_name(ref) or ""
    heads = "refs/heads/"
    return full_name.removeprefix(heads) if full_name.startswith(heads) else None


def _check_out(repository: GitRepository, commit: str, branch: str | None, folder: Path) -> None:
    git_folder = folder / ".git"

    def git(*arguments: str) -> None:
        run_git(["--work-tree", str(folder), *arguments], repository=git_folder)

    try:
        folder.mkdir(parents=True)
        run_git(["init", "--quiet", "--", str(folder)])
        kept = f"refs/kept/{commit}"
        git("fetch", "--quiet", "--depth=1", "--", repository.path.as_uri(), kept)
        git("remote", "add", "--", "origin", repository.repo)
        if branch is None:
            git("checkout", "--quiet", "--detach", commit)
        else:
            git("update-ref", f"refs/remotes/origin/{branch}", commit)
            git("checkout", "--quiet", "-B", branch, "--track", f"origin/{branch}")
    except GitFailedError as error:
        raise OperationFailedError(f"{folder} could not be checked out: {error.reason}") from error
