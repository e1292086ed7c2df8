"""`init` with a real git repository, real wheels and a double of PyTorch's index."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from comfy_errors import InvalidInputError, OperationFailedError, UnavailableError
from comfy_home.manifest import Manifest, load_manifest, save_manifest
from runpod_comfy.cache.paths import Cache
from runpod_comfy.homes.init.environment import TORCH_CPU_INDEX_VARIABLE, Initialization
from runpod_comfy.homes.init.run import initialize
from runpod_comfy.homes.remove import plan_removal, remove
from tests.full_disk import nearly_full
from tests.git_repositories import GitRepository, new_repository
from tests.http_server import serve
from tests.package_index import publish, serve_index
from tests.program import write_program
from tests.runpod_comfy.homes.conftest import imports, snapshot, times

_FOLDER_PATHS = """
models_dir = "/core/models"
folder_names_and_paths = {"loras": (["/core/models/loras"], {".safetensors"})}
"""


def _git(folder: Path, *arguments: str) -> str:
    return GitRepository(path=folder).git(*arguments)


@dataclass(frozen=True, kw_only=True)
class FetchContext:
    """A repository with a tag `v1` and a newer branch `main`, and where `init` puts its things."""

    repository: Path
    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "comfy"

    def job(self, **changes: Any) -> Initialization:
        job = Initialization(
            path=self.home,
            repo=self.repository.as_uri(),
            python=sys.executable,
            cache=Cache(root=self.folder / "cache"),
            base_dir=self.folder,
        )
        return replace(job, **changes)


@pytest.fixture
def fetch_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FetchContext]:
    files = {
        "folder_paths.py": _FOLDER_PATHS,
        "requirements.txt": "torch\ntorchsde\nalpha\n",
        ".gitignore": "__pycache__/\n/extra_model_paths.yaml\n",
        "main.py": "print('one')\n",
    }
    repository = new_repository(tmp_path / "repository", files, tag="v1")
    repository.commit("two", {"main.py": "print('two')\n"})
    usual = tmp_path / "usual"
    publish(usual, "torch", "9.0", requires=["nvidia-driver-stuff"])
    publish(usual, "torchvision", "9.0")
    publish(usual, "torchaudio", "9.0")
    publish(usual, "nvidia-driver-stuff", "1.0")
    publish(usual, "torchsde", "1.0", requires=["torch"])
    publish(usual, "alpha", "1.0")
    monkeypatch.delenv(TORCH_CPU_INDEX_VARIABLE, raising=False)
    with serve_index(usual, monkeypatch):
        yield FetchContext(repository=repository.path, folder=tmp_path)


@pytest.fixture
def cpu_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The double of PyTorch's index: its torch family, and another alpha that was not asked for."""
    root = tmp_path / "pytorch"
    for name in ("torch", "torchvision", "torchaudio"):
        publish(root, name, "8.0+cpu")
    publish(root, "alpha", "99.0")
    monkeypatch.setattr(sys, "platform", "linux")
    with serve(root) as url:
        monkeypatch.setenv(TORCH_CPU_INDEX_VARIABLE, f"{url}/simple")
        yield root


def _versions(venv: Path) -> dict[str, str]:
    infos = venv.glob("lib/python*/site-packages/*.dist-info")
    return dict(tuple(path.name.removesuffix(".dist-info").split("-", 1)) for path in infos)  # type: ignore[misc]


def test_a_home_to_develop_in_has_core_environment_folders_and_marker(
    fetch_context: FetchContext,
) -> None:
    result = initialize(fetch_context.job())
    home = fetch_context.home
    assert result.changed
    assert (home / "ComfyUI/main.py").read_text() == "print('two')\n"
    assert imports(home, "alpha")
    assert all((home / name).is_dir() for name in ("models/loras", "input", "output", "user"))
    assert "../models" in (home / "ComfyUI/extra_model_paths.yaml").read_text()
    manifest = load_manifest(home)
    assert manifest is not None
    assert manifest.kind == "init"
    assert manifest.complete


def test_its_packages_are_not_those_of_the_cache(fetch_context: FetchContext) -> None:
    initialize(fetch_context.job(install_torch="skip"))
    files = [
        path.lstat().st_nlink
        for path in (fetch_context.home / ".venv/lib").rglob("*")
        if path.is_file() and not path.is_symlink()
    ]
    assert set(files) == {1}


def test_the_clone_follows_its_branch_so_that_users_can_pull(fetch_context: FetchContext) -> None:
    initialize(fetch_context.job())
    clone = fetch_context.home / "ComfyUI"
    assert _git(clone, "status", "--porcelain") == ""
    (fetch_context.repository / "main.py").write_text("print('three')\n")
    _git(fetch_context.repository, "commit", "--quiet", "-am", "three")
    _git(clone, "pull", "--quiet")
    assert (clone / "main.py").read_text() == "print('three')\n"
    assert _git(clone, "remote", "get-url", "origin") == fetch_context.repository.as_uri()


def test_a_pulled_core_is_not_hidden_by_old_bytecode(fetch_context: FetchContext) -> None:
    initialize(fetch_context.job())
    assert not list((fetch_context.home / "ComfyUI").rglob("*.pyc"))


@pytest.mark.parametrize("by_commit", [False, True])
def test_a_tag_or_a_commit_can_be_asked_for(fetch_context: FetchContext, by_commit: bool) -> None:
    commit = _git(fetch_context.repository, "rev-parse", "v1")
    initialize(fetch_context.job(ref=commit if by_commit else "v1"))
    clone = fetch_context.home / "ComfyUI"
    assert (clone / "main.py").read_text() == "print('one')\n"
    assert _git(clone, "rev-parse", "HEAD") == commit


def test_skip_leaves_torch_out_although_another_package_requires_it(
    fetch_context: FetchContext,
) -> None:
    initialize(fetch_context.job(install_torch="skip"))
    assert set(_versions(fetch_context.home / ".venv")) == {"torchsde", "alpha"}


@pytest.mark.parametrize("choice", ["auto", "cpu"])
def test_on_linux_the_torch_family_alone_comes_from_the_cpu_index(
    fetch_context: FetchContext, cpu_index: Path, choice: Any
) -> None:
    initialize(fetch_context.job(install_torch=choice))
    versions = _versions(fetch_context.home / ".venv")
    family = ("torch", "torchvision", "torchaudio")
    assert {versions[name] for name in family} == {"8.0+cpu"}
    assert versions["alpha"] == "1.0"
    assert "nvidia_driver_stuff" not in versions


def test_too_little_room_for_torch_is_found_before_it_is_fetched(
    fetch_context: FetchContext, cpu_index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nearly_full(monkeypatch, free_bytes=100_000_000)
    with pytest.raises(OperationFailedError, match="500.0 MB are needed below"):
        initialize(fetch_context.job(install_torch="cpu"))
    initialize(fetch_context.job(install_torch="skip"))


def test_elsewhere_the_usual_build_is_taken(
    fetch_context: FetchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    initialize(fetch_context.job(install_torch="auto"))
    assert _versions(fetch_context.home / ".venv")["torch"] == "9.0"


def test_a_cpu_index_that_cannot_be_reached_is_reported_before_anything_is_made(
    fetch_context: FetchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv(TORCH_CPU_INDEX_VARIABLE, "http://127.0.0.1:1/cpu")
    with pytest.raises(
        UnavailableError, match=r"127\.0\.0\.1:1/cpu/torch/ could not be read"
    ) as caught:
        initialize(fetch_context.job(install_torch="cpu"))
    assert TORCH_CPU_INDEX_VARIABLE in caught.value.remedy
    assert not fetch_context.home.exists()


def test_a_second_time_nothing_is_done(fetch_context: FetchContext) -> None:
    initialize(fetch_context.job())
    before = times(fetch_context.home)
    assert not initialize(fetch_context.job()).changed
    assert times(fetch_context.home) == before


@pytest.mark.parametrize("ref", ["main", "v1", None])
def test_a_second_time_with_the_ref_that_is_there_nothing_is_done(
    fetch_context: FetchContext, ref: str | None
) -> None:
    initialize(fetch_context.job(ref=ref))
    head = _git(fetch_context.home / "ComfyUI", "rev-parse", "HEAD")
    for same in (ref, head):
        assert not initialize(fetch_context.job(ref=same)).changed
    # A branch that a person works on stays the branch that was asked for.
    clone = fetch_context.home / "ComfyUI"
    if ref == "main":
        (clone / "main.py").write_text("print('mine')\n")
        GitRepository(path=clone).commit("mine", {"mine.py": ""})
        assert not initialize(fetch_context.job(ref=ref)).changed


def test_another_ref_than_the_one_that_is_there_is_refused_with_the_way_to_it(
    fetch_context: FetchContext,
) -> None:
    initialize(fetch_context.job())
    before = times(fetch_context.home)
    with pytest.raises(InvalidInputError, match="is at the branch main, not at v1") as caught:
        initialize(fetch_context.job(ref="v1"))
    assert times(fetch_context.home) == before
    command = caught.value.remedy.partition("Change it with: ")[2].partition(";")[0]
    subprocess.run(command, shell=True, check=True, capture_output=True)
    assert not initialize(fetch_context.job(ref="v1")).changed
    with pytest.raises(InvalidInputError, match="is at the commit .*, not at main"):
        initialize(fetch_context.job(ref="main"))
    with pytest.raises(UnavailableError, match="v9"):
        initialize(fetch_context.job(ref="v9"))


def test_another_repository_or_python_than_what_is_there_is_refused(
    fetch_context: FetchContext, tmp_path: Path
) -> None:
    initialize(fetch_context.job())
    other = new_repository(tmp_path / "other", {"main.py": ""})
    with pytest.raises(InvalidInputError, match="is a clone of .*, not of "):
        initialize(fetch_context.job(repo=other.path.as_uri()))
    older = write_program(tmp_path / "python", "echo 3.9")
    with pytest.raises(InvalidInputError, match="has Python 3"):
        initialize(fetch_context.job(python=str(older)))
    assert not initialize(fetch_context.job(repo=None, python=None)).changed


@pytest.mark.parametrize("damage", [None, "{"])
def test_without_a_marker_what_is_in_the_way_is_named(
    fetch_context: FetchContext, damage: str | None
) -> None:
    initialize(fetch_context.job())
    core, marker = fetch_context.home / "ComfyUI", fetch_context.home / ".comfy_env"
    marker.unlink()
    if damage is not None:
        marker.write_text(damage)
    in_the_way = [core] if damage is None else [core, marker]
    with pytest.raises(InvalidInputError) as caught:
        initialize(fetch_context.job())
    assert caught.value.remedy.endswith(f": {', '.join(map(str, in_the_way))}")
    for path in in_the_way:
        path.rename(fetch_context.folder / f"away{path.name}")
    assert initialize(fetch_context.job()).changed


def test_an_environment_whose_python_is_gone_is_refused(fetch_context: FetchContext) -> None:
    initialize(fetch_context.job())
    (fetch_context.home / ".venv/bin/python").unlink()
    with pytest.raises(InvalidInputError, match="has no working Python"):
        initialize(fetch_context.job())


def test_torch_can_be_asked_for_later_and_another_environment_too(
    fetch_context: FetchContext, cpu_index: Path
) -> None:
    initialize(fetch_context.job())
    (fetch_context.home / ".venv" / "mine.txt").write_text("mine")
    assert initialize(fetch_context.job(install_torch="cpu")).changed
    assert _versions(fetch_context.home / ".venv")["torch"] == "8.0+cpu"
    assert (fetch_context.home / ".venv" / "mine.txt").is_file()
    assert not initialize(fetch_context.job(install_torch="cpu")).changed
    other = fetch_context.folder / "other"
    assert initialize(fetch_context.job(venv=other)).changed
    assert "alpha" in _versions(other)


def test_cut_short_it_is_finished_by_the_next_run(fetch_context: FetchContext) -> None:
    with pytest.raises(UnavailableError, match="no-such-package"):
        initialize(_broken(fetch_context))
    manifest = load_manifest(fetch_context.home)
    assert manifest is not None
    assert not manifest.complete
    requirements = fetch_context.home / "ComfyUI/requirements.txt"
    requirements.write_text("alpha\n")
    assert initialize(fetch_context.job()).changed
    assert imports(fetch_context.home, "alpha")


def test_a_core_from_a_folder_is_finished_and_then_left_as_it_is(
    fetch_context: FetchContext,
) -> None:
    folder = fetch_context.folder / "mine"
    folder.mkdir()
    for name in ("folder_paths.py", "main.py"):
        shutil.copy(fetch_context.repository / name, folder)
    (folder / "requirements.txt").write_text("no-such-package\n")
    job = fetch_context.job(repo=str(folder))
    with pytest.raises(UnavailableError, match="no-such-package"):
        initialize(job)
    (fetch_context.home / "ComfyUI/requirements.txt").write_text("alpha\n")
    assert initialize(job).changed
    assert imports(fetch_context.home, "alpha")
    before = times(fetch_context.home)
    assert not initialize(job).changed
    with pytest.raises(InvalidInputError, match="is not a git clone"):
        initialize(fetch_context.job())
    with pytest.raises(InvalidInputError, match="the URL svn:.* has the unknown scheme"):
        initialize(fetch_context.job(repo="svn://example.org/core"))
    assert times(fetch_context.home) == before


def test_a_folder_is_not_taken_for_the_clone_that_is_there(fetch_context: FetchContext) -> None:
    initialize(fetch_context.job())
    (fetch_context.folder / "mine").mkdir()
    with pytest.raises(InvalidInputError, match="is a clone of .*, not of .*/mine"):
        initialize(fetch_context.job(repo=str(fetch_context.folder / "mine")))


@pytest.mark.parametrize("kind", ["relative", "bare"])
def test_a_folder_with_a_git_repository_is_cloned_at_the_ref(
    fetch_context: FetchContext, kind: str
) -> None:
    repository = fetch_context.repository
    if kind == "bare":
        repository = fetch_context.folder / "a bare one"
        _git(fetch_context.repository, "clone", "--quiet", "--bare", ".", str(repository))
    job = fetch_context.job(repo=repository.name, ref="v1")
    initialize(job)
    clone = fetch_context.home / "ComfyUI"
    assert (clone / "main.py").read_text() == "print('one')\n"
    assert _git(clone, "remote", "get-url", "origin").strip() == repository.as_uri()
    _git(clone, "fetch", "--quiet", "origin", "main")
    assert not initialize(job).changed
    assert not initialize(fetch_context.job(repo=str(repository), ref="v1")).changed


def test_a_ref_of_a_folder_that_is_not_a_git_repository_is_refused(
    fetch_context: FetchContext,
) -> None:
    plain = fetch_context.folder / "plain"
    plain.mkdir()
    with pytest.raises(InvalidInputError, match="plain is not a git repository") as refused:
        initialize(fetch_context.job(repo="plain", ref="v1"))
    assert "--ref" in refused.value.remedy
    assert not fetch_context.home.exists()


def test_a_wrong_path_is_reported_without_a_spec(fetch_context: FetchContext) -> None:
    with pytest.raises(UnavailableError, match="the folder ./core does not exist") as refused:
        initialize(fetch_context.job(repo="./core"))
    assert refused.value.remedy.startswith("Correct --repo")
    assert "spec" not in refused.value.remedy
    assert not fetch_context.home.exists()


def _broken(fetch_context: FetchContext) -> Initialization:
    (fetch_context.repository / "requirements.txt").write_text("no-such-package\n")
    _git(fetch_context.repository, "commit", "--quiet", "-am", "broken")
    return fetch_context.job()


def test_an_environment_elsewhere_is_made_there_and_an_existing_one_is_used(
    fetch_context: FetchContext,
) -> None:
    venv = fetch_context.folder / "my environment"
    initialize(fetch_context.job(venv=venv))
    assert not (fetch_context.home / ".venv").exists()
    (venv / "mine.txt").write_text("mine")
    remove(plan_removal(fetch_context.home, remove_models=True, remove_root=True))
    assert initialize(fetch_context.job(venv=venv)).changed
    assert (venv / "mine.txt").read_text() == "mine"
    assert "alpha" in _versions(venv)


def test_a_folder_that_is_not_an_environment_is_left_alone(fetch_context: FetchContext) -> None:
    venv = fetch_context.folder / "pictures"
    venv.mkdir()
    (venv / "a.png").write_text("a")
    with pytest.raises(InvalidInputError, match="is not a virtual environment"):
        initialize(fetch_context.job(venv=venv))
    assert not fetch_context.home.exists()
    assert (venv / "a.png").is_file()


@pytest.mark.parametrize("occupant", ["version", "core"])
def test_a_folder_that_is_someone_elses_is_left_untouched(
    fetch_context: FetchContext, occupant: str
) -> None:
    fetch_context.home.mkdir()
    if occupant == "version":
        save_manifest(fetch_context.home, Manifest(version_id="demo"))
    else:
        (fetch_context.home / "ComfyUI").mkdir()
    before = snapshot(fetch_context.home)
    with pytest.raises(InvalidInputError, match=str(fetch_context.home)):
        initialize(fetch_context.job())
    assert snapshot(fetch_context.home) == before


def test_a_ref_that_is_not_there_leaves_no_core(fetch_context: FetchContext) -> None:
    with pytest.raises(UnavailableError, match="no-such-branch"):
        initialize(fetch_context.job(ref="no-such-branch"))
    assert not fetch_context.home.exists()


@pytest.mark.parametrize(
    "repo", ["https://me:hush@example.org/core.git", "svn://example.org/core", "ext::sh -c x"]
)
def test_an_address_that_must_not_be_asked_is_refused_without_its_secrets(
    fetch_context: FetchContext, repo: str
) -> None:
    with pytest.raises(InvalidInputError, match="the URL") as caught:
        initialize(fetch_context.job(repo=repo))
    assert "hush" not in caught.value.message
    assert not fetch_context.home.exists()


def test_a_password_of_the_cpu_index_is_not_shown(
    fetch_context: FetchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv(TORCH_CPU_INDEX_VARIABLE, "http://me:hush@127.0.0.1:9/simple")
    with pytest.raises(UnavailableError) as caught:
        initialize(fetch_context.job(install_torch="cpu"))
    assert "hush" not in caught.value.message + caught.value.remedy


def test_an_interpreter_that_is_not_there_is_named(fetch_context: FetchContext) -> None:
    with pytest.raises(UnavailableError, match="python-of-tomorrow"):
        initialize(fetch_context.job(python="python-of-tomorrow"))
    assert not fetch_context.home.exists()
