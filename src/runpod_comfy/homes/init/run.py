"""`init`: an unpinned ComfyUI for development: a git clone, an environment, requirements.

The core is cloned so that users can pull. One that is there is compared with what is asked for.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from comfy_errors import InvalidInputError, OperationFailedError, UnavailableError
from comfy_files.files import ROOM_AND_PERMISSIONS
from comfy_files.user_paths import real
from comfy_home.in_use import home_alone
from comfy_home.layout import MARKER_NAME
from comfy_home.manifest import Manifest, load_manifest, save_manifest
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.tree import FIRST_TIME_S, FetchContext, TreeRequest
from runpod_comfy.homes.home import Home, moved_by_hand, refuse_protected, require_folder
from runpod_comfy.homes.init.environment import (
    DEFAULT_REPO,
    Initialization,
    find_interpreter,
    has_torch,
    install_requirements,
    is_environment,
    make_environment,
    refuse_another_python,
    refuse_foreign_environment,
    require_index,
    run_step,
)
from runpod_comfy.project import LAYER_SCRIPTS
from runpod_comfy.sources.git.repository import KEPT, GitFailedError, GitRepository, run_git
from runpod_comfy.sources.git.source import is_commit, list_refs
from runpod_comfy.sources.index.pip_settings import outside_variables
from runpod_comfy.sources.kinds import source_of
from runpod_comfy.spec.values import TreeKind, check_repo, tree_kind


@dataclass(frozen=True, kw_only=True)
class InitResult:
    """`changed` is false if everything already existed."""

    target: Path
    venv: Path
    changed: bool


def initialize(job: Initialization) -> InitResult:
    """Clones the core, makes its environment and installs its requirements, with the marker.

    Does nothing if that is already done, and resumes if it was interrupted. Raises
    InvalidInputError for a folder that init did not make, or that has another repository, ref or
    Python than was asked for; UnavailableError for a repository, an interpreter or an index that
    is not available, OperationFailedError else.
    """
    home = job.home
    manifest = _own_manifest(home)
    if manifest is not None and home.comfyui.is_dir():
        _refuse_another_core(job)
    is_made = manifest is not None and manifest.complete and home.comfyui.is_dir()
    interpreter = find_interpreter(job.python or "python3")
    refuse_foreign_environment(job)
    keep_environment = (is_made or job.venv is not None) and is_environment(job.environment)
    if keep_environment:
        refuse_another_python(job, interpreter)
    if is_made and keep_environment and (job.install_torch == "skip" or has_torch(job.environment)):
        return InitResult(target=home.root, venv=job.environment, changed=False)
    if job.torch_index:
        require_index(job.torch_index)
    with job.cache.using(job.say) as cache_fd:
        core = None
        if not home.comfyui.exists():
            repo = job.repo or DEFAULT_REPO
            job.say(f"Cloning {without_secrets(repo)}")
            core = _bring_core(repo, job.ref, job.fetch_context)
        with home_alone(home.root, job.say) as lock_fd:
            lock_fds = (lock_fd,) if cache_fd is None else (lock_fd, cache_fd)
            save_manifest(home.root, Manifest(kind="init", complete=False))
            if core is not None and not home.comfyui.exists():
                staging = home.root / ".comfy_core_staging"
                shutil.rmtree(staging, ignore_errors=True)
                core(staging)
                staging.replace(home.comfyui)
            job.say("Installing the core's requirements")
            if not keep_environment:
                make_environment(job, interpreter, lock_fds)
            install_requirements(job, lock_fds)
            job.say("Creating the folders")
            _make_folders(job, lock_fds)
            models_dir = str(home.models)
            save_manifest(home.root, Manifest(kind="init", complete=True, models_dir=models_dir))
            shutil.rmtree(home.logs, ignore_errors=True)
    return InitResult(target=home.root, venv=job.environment, changed=True)


def _own_manifest(home: Home) -> Manifest | None:
    """The marker of an earlier `init`; None for a free folder."""
    require_folder(home.root)
    elsewhere = "Choose another folder with --path, or"
    by_hand = f"{elsewhere} {moved_by_hand(home.comfyui, home.marker)}"
    try:
        manifest = load_manifest(home.root)
    except InvalidInputError as error:
        raise InvalidInputError(error.message, remedy=by_hand) from error
    if manifest is None:
        refuse_protected(home.root)
    if manifest is not None and manifest.kind != "init":
        raise InvalidInputError(
            f"{home.root} holds the version {manifest.version_id}",
            remedy=f"{elsewhere} remove this one first.",
        )
    if manifest is None and os.path.lexists(home.comfyui):
        raise InvalidInputError(
            f"{home.comfyui} already exists without a {MARKER_NAME} file beside it, so init did "
            "not make it; it was left alone",
            remedy=by_hand,
        )
    return manifest


def _make_folders(job: Initialization, lock_fds: Sequence[int]) -> None:
    """Runs only the models layer: mount points and extra_model_paths.yaml, as in a version."""
    with tempfile.TemporaryDirectory(prefix="runpod-comfy-init-") as folder:
        (Path(folder) / "folders.txt").touch()
        variables = {
            **outside_variables(),
            "TARGET": "host",
            "INPUTS": folder,
            "COMFY_HOME": str(job.home.root),
            "VENV": str(job.environment),
            "SOURCE_DATE_EPOCH": str(FIRST_TIME_S),
        }
        command = ["/bin/sh", str(LAYER_SCRIPTS / "models.sh")]
        run_step("making folders", command, variables, job, lock_fds)


def _bring_core(
    repo: str, ref: str | None, fetch_context: FetchContext
) -> Callable[[Path], object]:
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
        git("fetch", "--quiet", "--depth=1", "--", repository.path.as_uri(), f"{KEPT}{commit}")
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


def _refuse_another_core(job: Initialization) -> None:
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
