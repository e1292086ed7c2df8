"""ComfyUI's own files: cloned so that users can pull, or compared with what is there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from comfy_errors import InvalidInputError, OperationFailedError, UnavailableError
from comfy_files.files import ROOM_AND_PERMISSIONS
from comfy_files.user_paths import real
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.tree import FetchContext, TreeRequest
from runpod_comfy.homes.init.environment import Initialization
from runpod_comfy.sources.git.repository import GitFailedError, GitRepository, run_git
from runpod_comfy.sources.git.source import is_commit, list_refs
from runpod_comfy.sources.kinds import source_of
from runpod_comfy.spec.values import TreeKind, check_repo, tree_kind


def bring_core(repo: str, ref: str | None, fetch_context: FetchContext) -> Callable[[Path], object]:
    """Fetches `repo` at `ref` (its default branch if None) into the cache, only that commit.

    Returns a function that makes the working copy at a free path; a branch is checked out with its
    remote as upstream, and a plain folder is copied. Raises InvalidInputError for a URL that is
    unsafe or unknown and for a ref of a plain folder, UnavailableError for a folder that does not
    exist, and what the sources raise.
    """
    kind, repo = _origin_of(repo, ref, fetch_context.base_dir)
    source = source_of(kind)
    if kind == "git":
        ref = ref or source.open_ref(repo, fetch_context)
    commit = source.pin(TreeRequest(repo=repo, ref=ref), fetch_context)
    if kind != "git":
        fetched = source.fetch(TreeRequest(repo=repo, ref=ref, commit=commit), fetch_context)
        return lambda folder: shutil.copytree(fetched.path, folder, symlinks=True)
    repository = GitRepository.of(repo, fetch_context.cache)
    repository.ensure(commit, fetch_context)
    branch = _branch(repo, ref, fetch_context)
    return lambda folder: _check_out(repository, commit, branch, folder)


def _origin_of(repo: str, ref: str | None, base_dir: Path) -> tuple[TreeKind, str]:
    """The kind of `repo` and what to fetch it from: for a folder with a git repository, its URL."""
    try:
        kind = tree_kind(check_repo(repo))
    except ValueError as error:
        raise InvalidInputError(
            f"the URL {without_secrets(repo)} {error}",
            remedy="Name a git repository, a folder, or 'pypi://' and a distribution.",
        ) from error
    if kind != "folder":
        return kind, repo
    folder = real(base_dir / repo)
    if not folder.exists():
        raise UnavailableError(
            f"the folder {repo} does not exist (looked for {folder})",
            remedy="Correct --repo; a relative path is based on the working directory.",
        )
    is_bare = (folder / "HEAD").is_file() and (folder / "objects").is_dir()
    if is_bare or (folder / ".git").exists():
        return "git", folder.as_uri()
    if ref is not None:
        raise InvalidInputError(
            f"{folder} is not a git repository, so it has no ref '{ref}'",
            remedy="Leave out --ref to copy the folder, or name a git repository with --repo.",
        )
    return kind, repo


def _branch(repo: str, ref: str | None, fetch_context: FetchContext) -> str | None:
    """The branch that `ref` names, None if it names a tag or a commit."""
    if ref is None or is_commit(ref):
        return None
    full_name = list_refs(repo, ref, fetch_context).full_name(ref) or ""
    heads = "refs/heads/"
    return full_name.removeprefix(heads) if full_name.startswith(heads) else None


def _check_out(repository: GitRepository, commit: str, branch: str | None, folder: Path) -> None:
    def git(*arguments: str) -> None:
        run_git(["--work-tree", str(folder), *arguments], repository=folder / ".git")

    try:
        folder.mkdir(parents=True)
        run_git(["init", "--quiet", "--", str(folder)])
        git("fetch", "--quiet", "--depth=1", "--", repository.path.as_uri(), f"refs/kept/{commit}")
        git("remote", "add", "--", "origin", repository.repo)
        if branch is None:
            git("checkout", "--quiet", "--detach", commit)
        else:
            git("update-ref", f"refs/remotes/origin/{branch}", commit)
            git("checkout", "--quiet", "-B", branch, "--track", f"origin/{branch}")
    except GitFailedError as error:
        raise OperationFailedError(
            f"{folder} could not be checked out: {error.reason}",
            remedy=error.advice or ROOM_AND_PERMISSIONS,
        ) from error


def refuse_another_core(job: Initialization) -> None:
    """Raises InvalidInputError if the core there is another one than was asked for.

    A branch that is checked out may be behind the remote's, or ahead of it. Only git records where
    a core came from: what was copied from a folder, an archive or an index is taken as it is.
    """
    if job.repo is None and job.ref is None:
        return
    core = job.home.comfyui
    kind, repo = "git", job.repo
    if repo is not None:
        kind, repo = _origin_of(repo, job.ref, job.base_dir)

    def there(*arguments: str) -> str | None:
        try:
            answer = run_git(["--work-tree", str(core), *arguments], repository=core / ".git")
        except GitFailedError:
            return None
        return answer.decode("utf-8", "replace").strip()

    origin, head = there("remote", "get-url", "origin"), there("rev-parse", "HEAD")
    if kind != "git" and origin is None:
        return
    if origin is None or head is None:
        raise InvalidInputError(
            f"{core} is not a git clone, so it cannot be compared with --repo and --ref",
            remedy="Leave out --repo and --ref, or choose another folder with --path.",
        )
    asked = repo or origin
    if kind == "git":
        asked = GitRepository.of(asked, job.cache).repo
    if asked.removesuffix(".git") != origin.removesuffix(".git"):
        raise InvalidInputError(
            f"{core} is a clone of {without_secrets(origin)}, not of {without_secrets(asked)}",
            remedy="Choose another folder with --path, or leave out --repo.",
        )
    branch = there("symbolic-ref", "--quiet", "--short", "HEAD")
    if job.ref is None or job.ref in (branch, head):
        return
    request = TreeRequest(repo=origin, ref=job.ref)
    if source_of("git").pin(request, job.fetch_context) != head:
        at = f"the branch {branch}" if branch else f"the commit {head}"
        raise InvalidInputError(
            f"{core} is at {at}, not at {job.ref}; it was left alone",
            remedy=f"Change it with: git -C {core} fetch --depth=1 origin {job.ref} && "
            f"git -C {core} checkout FETCH_HEAD; then install its requirements.txt. "
            "Or choose another folder with --path.",
        )
