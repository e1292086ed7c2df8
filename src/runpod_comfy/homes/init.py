"""`init`: an unpinned ComfyUI for development: a git clone, an environment, requirements."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal
from urllib.parse import urlsplit

from comfy_errors import InvalidInputError, OperationFailedError, UnavailableError
from comfy_files.files import ROOM_AND_PERMISSIONS
from comfy_files.progress import Say, say_nothing
from comfy_home.layout import MARKER_NAME
from comfy_home.manifest import Manifest, load_manifest, save_manifest
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.locks import using
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext, TreeRequest
from runpod_comfy.homes.home import Home, held, refuse_protected, require_folder
from runpod_comfy.homes.script import run_script
from runpod_comfy.layers.uv import outside_variables, uv_program, uv_variables
from runpod_comfy.lock.python.torch_family import FAMILY
from runpod_comfy.lock.requirements.read import requirements_of_core
from runpod_comfy.project import LAYER_SCRIPTS
from runpod_comfy.sources.git.process import GitFailedError, run_git
from runpod_comfy.sources.git.repository import GitRepository
from runpod_comfy.sources.git.source import is_commit, list_refs
from runpod_comfy.sources.index.pip_settings import read_pip_settings
from runpod_comfy.sources.kinds import source_of
from runpod_comfy.spec.values import check_repo, tree_kind

DEFAULT_REPO = "https://github.com/comfyanonymous/ComfyUI.git"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
TORCH_CPU_INDEX_VARIABLE = "TORCH_CPU_INDEX_URL"

InstallTorch = Literal["auto", "cpu", "skip"]

_EPOCH = "315532800"


@dataclass(frozen=True, kw_only=True)
class Initialization:
    """A request to `init`. `venv` None means `.venv` in the home; `ref` None means the default
    branch; a relative `repo` is based on `base_dir`. uv's output goes to `show` as it arrives.
    """

    path: Path
    repo: str = DEFAULT_REPO
    ref: str | None = None
    venv: Path | None = None
    install_torch: InstallTorch = "skip"
    python: str = "python3"
    cache: Cache
    base_dir: Path
    say: Say = say_nothing
    show: BinaryIO | None = None

    @property
    def home(self) -> Home:
        return Home(root=self.path.absolute())

    @property
    def environment(self) -> Path:
        return (self.venv or self.home.venv).absolute()

    @property
    def torch_index(self) -> str | None:
        """The index for the torch family only; None if the default builds are right."""
        if self.install_torch == "skip" or sys.platform != "linux":
            return None
        return os.environ.get(TORCH_CPU_INDEX_VARIABLE) or TORCH_CPU_INDEX


@dataclass(frozen=True, kw_only=True)
class InitResult:
    """`changed` is false if everything already existed."""

    target: Path
    venv: Path
    changed: bool


def initialize(job: Initialization) -> InitResult:
    """Clones the core, makes its environment and installs its requirements, with the marker.

    Does nothing if that is already done, and resumes if it was interrupted. Raises
    InvalidInputError for a folder that belongs to something else, UnavailableError for a
    repository, an interpreter or an index that cannot be reached, OperationFailedError for other
    failures.
    """
    home = job.home
    manifest = _own_manifest(home)
    if manifest is not None and manifest.complete and home.comfyui.is_dir():
        return InitResult(target=home.root, venv=job.environment, changed=False)
    interpreter = _interpreter(job.python)
    _refuse_foreign_environment(job)
    if job.torch_index:
        _require_index(job.torch_index)
    with using(job.cache, job.say) as cache_fd:
        core = None
        if not home.comfyui.exists():
            job.say(f"Cloning {without_secrets(job.repo)}")
            fetch_context = FetchContext(cache=job.cache, base_dir=job.base_dir, say=job.say)
            core = _bring_core(job.repo, job.ref, fetch_context)
        with held(home, job.say) as lock_fd:
            lock_fds = (lock_fd,) if cache_fd is None else (lock_fd, cache_fd)
            save_manifest(home.root, Manifest(kind="init", complete=False))
            if core is not None and not home.comfyui.exists():
                staging = home.root / ".comfy_core_staging"
                shutil.rmtree(staging, ignore_errors=True)
                core(staging)
                staging.replace(home.comfyui)
            job.say("Installing the core's requirements")
            _install(job, interpreter, lock_fds)
            job.say("Creating the folders")
            _make_folders(job, lock_fds)
            models_dir = str(home.models)
            save_manifest(home.root, Manifest(kind="init", complete=True, models_dir=models_dir))
            shutil.rmtree(home.logs, ignore_errors=True)
    return InitResult(target=home.root, venv=job.environment, changed=True)


def _bring_core(
    repo: str, ref: str | None, fetch_context: FetchContext
) -> Callable[[Path], object]:
    """Fetches `repo` at `ref` (its default branch if None) into the cache, only that commit.

    Returns a function that makes the working copy at a free path; a branch is checked out with its
    remote as upstream. Raises InvalidInputError for a URL that is unsafe or unknown, and what the
    sources raise.
    """
    try:
        kind = tree_kind(check_repo(repo))
    except ValueError as error:
        raise InvalidInputError(
            f"the URL {without_secrets(repo)} {error}",
            remedy="Name a git repository, a folder, or 'pypi://' and a distribution.",
        ) from error
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
            remedy=ROOM_AND_PERMISSIONS,
        ) from error


def _own_manifest(home: Home) -> Manifest | None:
    """The marker of an earlier `init`; None for a free folder."""
    require_folder(home.root)
    manifest = load_manifest(home.root)
    if manifest is None:
        refuse_protected(home.root)
    elsewhere = "Choose another folder with --path, or remove this one first."
    if manifest is not None and manifest.kind != "init":
        raise InvalidInputError(
            f"{home.root} holds the version {manifest.version_id}", remedy=elsewhere
        )
    if manifest is None and os.path.lexists(home.comfyui):
        raise InvalidInputError(
            f"{home.comfyui} already exists without a {MARKER_NAME} file beside it, so init did "
            "not make it; it was left alone",
            remedy=elsewhere,
        )
    return manifest


def _interpreter(python: str) -> Path:
    found = shutil.which(python)
    if found is None:
        raise UnavailableError(
            f"there is no Python interpreter {python}",
            remedy="Install it, or name another one with --python.",
        )
    question = "import sys; print(sys.version_info >= (3, 9))"
    answer = subprocess.run([found, "-I", "-c", question], capture_output=True, check=False)
    if answer.stdout.strip() != b"True":
        raise UnavailableError(
            f"{found} is not a working Python 3.9 or newer, which ComfyUI needs",
            remedy="Name another one with --python.",
        )
    return Path(found)


def _refuse_foreign_environment(job: Initialization) -> None:
    """An existing environment is used; any other folder is left alone."""
    venv = job.environment
    if venv.exists() and any(venv.iterdir()) and not (venv / "pyvenv.cfg").is_file():
        raise InvalidInputError(
            f"{venv} already exists and is not a virtual environment",
            remedy="Name another folder with --venv.",
        )


def _require_index(index: str) -> None:
    """Raises UnavailableError, before anything is made, unless the index answers for torch."""
    import requests

    from comfy_http.client import HttpClient

    url = f"{index.rstrip('/')}/torch/"
    if urlsplit(url).scheme not in ("http", "https"):
        return
    client = HttpClient(
        settings=read_pip_settings(),
        remedy="PyTorch's CPU builds come from there: use --install-torch skip and install torch "
        f"yourself, or set {TORCH_CPU_INDEX_VARIABLE} to a mirror.",
    )
    try:
        with client.session() as session:
            client.get(session, url).raise_for_status()
    except (requests.RequestException, OSError) as error:
        raise client.unreachable(url, error) from error


def _install(job: Initialization, interpreter: Path, lock_fds: Sequence[int]) -> None:
    variables = {
        **outside_variables(),
        "UV_CACHE_DIR": str(job.cache.uv),
        # uv itself copies, and says so, if that is not possible.
        "UV_LINK_MODE": "hardlink",
        **uv_variables(read_pip_settings(), os.environ),
    }
    # A variable that makes uv ignore a package's own index would get torch from the default one.
    variables.pop("UV_NO_SOURCES", None)
    no_index = ["--no-index"] if variables.get("NO_INDEX") == "1" else []
    uv = str(uv_program())
    if job.venv is None or not (job.environment / "pyvenv.cfg").is_file():
        # The home's own is made again: an interrupted one may hold half a package.
        make = [uv, "venv", "--quiet", "--no-project", "--clear", "--python", str(interpreter)]
        _run("making environment", [*make, str(job.environment)], variables, job, lock_fds)
    with tempfile.TemporaryDirectory(prefix="runpod-comfy-init-") as folder:
        python = str(job.environment / "bin" / "python")
        asked = _requirement_files(job, Path(folder))
        install = [uv, "pip", "install", "--python", python, *no_index, *asked]
        _run("installing requirements", install, variables, job, lock_fds)


def _requirement_files(job: Initialization, folder: Path) -> list[str]:
    """uv's options for the core's requirements, with the torch family as `--install-torch` says."""
    requirements = requirements_of_core(job.home.comfyui, say=job.say)
    files = ["--requirements", _write(folder / "requirements.txt", requirements)]
    if job.install_torch == "skip":
        # Also excluded if another package, such as torchsde, requires it.
        never = [f"{name} ; sys_platform == 'never'" for name in FAMILY]
        return [*files, "--overrides", _write(folder / "overrides.txt", never)]
    if job.torch_index:
        project = [
            "[project]",
            "name = 'torch-family'",
            "version = '0'",
            f"dependencies = {list(FAMILY)}",
            "[[tool.uv.index]]",
            "name = 'torch-cpu'",
            f"url = '{job.torch_index}'",
            "explicit = true",
            "[tool.uv.sources]",
            *(f"{name} = {{ index = 'torch-cpu' }}" for name in FAMILY),
        ]
        return [*files, "--requirements", _write(folder / "pyproject.toml", project)]
    return files


def _write(path: Path, lines: Sequence[str]) -> str:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def _make_folders(job: Initialization, lock_fds: Sequence[int]) -> None:
    """Runs only the models layer: mount points and extra_model_paths.yaml, as in a version."""
    with tempfile.TemporaryDirectory(prefix="runpod-comfy-init-") as folder:
        _write(Path(folder) / "folders.txt", [])
        variables = {
            **outside_variables(),
            "TARGET": "host",
            "INPUTS": folder,
            "COMFY_HOME": str(job.home.root),
            "VENV": str(job.environment),
            "SOURCE_DATE_EPOCH": _EPOCH,
        }
        command = ["/bin/sh", str(LAYER_SCRIPTS / "models.sh")]
        _run("making folders", command, variables, job, lock_fds)


def _run(
    title: str,
    command: Sequence[str],
    variables: Mapping[str, str],
    job: Initialization,
    lock_fds: Sequence[int],
) -> None:
    run_script(
        command,
        title=title,
        environment=variables,
        log=job.home.logs / f"{title.split()[1]}.log",
        show=job.show,
        keep_open=lock_fds,
    )
