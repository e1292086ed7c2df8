"""Which version a command is about, and which lock answers it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError, UnavailableError
from comfy_files.parallel import in_parallel
from comfy_home.tree_hash import tree_hash
from comfy_models.store import ModelStore
from runpod_comfy.api.versions import create, resolve, select
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.roots import read_roots
from runpod_comfy.cli.app import run_command_line
from runpod_comfy.lock.drift import folders
from runpod_comfy.lock.store import load_lock
from tests.http_server import serve
from tests.package_index import publish, serve_index


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a version `small` whose core is a folder without requirements."""
    core = tmp_path / "versions" / "core"
    core.mkdir(parents=True)
    (core / "main.py").write_text("print('core')\n")
    (core / "folder_paths.py").write_text("models_dir = 'models'\n")
    spec = {"schema_version": 2, "version_id": "small", "comfy": {"repo": "core"}}
    (tmp_path / "versions" / "small.json").write_text(json.dumps(spec))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "cache"))
    monkeypatch.delenv("LOCK_PATH", raising=False)
    return tmp_path


def _select(lock: Path | None = None, *, offline: bool = False) -> str:
    return select("small", lock=lock, offline=offline).lock.version_id


def test_offline_without_a_lock_says_how_to_make_one(workspace: Path) -> None:
    with pytest.raises(UnavailableError) as caught:
        _select(offline=True)
    assert caught.value.remedy.endswith("runpod-comfy resolve small")


def test_a_version_without_a_lock_is_resolved_first_and_both_copies_are_written(
    workspace: Path,
) -> None:
    said: list[str] = []
    assert select("small", say=said.append).lock.version_id == "small"
    assert "resolving it first" in said[0]
    written = workspace / "lockfiles" / "comfy-small.lock.json"
    cached = workspace / "cache" / "resolved" / "small.lock.json"
    assert written.read_bytes() == cached.read_bytes()
    assert _select(offline=True) == "small"


@pytest.mark.parametrize("outdated", [False, True])
def test_a_dry_run_without_a_matching_lock_writes_none_and_says_where_it_would_be(
    workspace: Path, capsys: pytest.CaptureFixture[str], outdated: bool
) -> None:
    locks = (
        workspace / "lockfiles" / "comfy-small.lock.json",
        workspace / "cache" / "resolved" / "small.lock.json",
    )
    if outdated:
        _select()
        spec = workspace / "versions" / "small.json"
        spec.write_text(json.dumps(json.loads(spec.read_text()) | {"env": {"A": "1"}}))
    before = [path.read_bytes() if path.exists() else None for path in locks]
    roots = read_roots(Cache.from_environment())
    home = workspace / "home"
    assert run_command_line(["realize", "small", "--target", str(home), "--dry-run"]) == 0
    told = capsys.readouterr()
    assert f"realize would write {locks[0]}" in told.err
    assert "Wrote" not in told.err
    assert "nothing was changed" in told.out
    assert [path.read_bytes() if path.exists() else None for path in locks] == before
    assert read_roots(Cache.from_environment()) == roots
    assert not home.exists()


@pytest.fixture
def lock_path(workspace: Path) -> Iterator[Path]:
    """The lock of `small`, which has a model whose server does not tell its sha256."""
    served = workspace / "served"
    served.mkdir()
    (served / "a.gguf").write_bytes(b"GGUF weights")
    with serve(served) as url:
        spec = workspace / "versions" / "small.json"
        model = {"name": "a.gguf", "source": f"{url}/a.gguf", "target_subdir": "vae"}
        spec.write_text(json.dumps(json.loads(spec.read_text()) | {"models": [model]}))
        yield resolve("small").path


def test_an_incomplete_lock_is_completed_on_its_first_use(lock_path: Path) -> None:
    assert [model.name for model in load_lock(lock_path).unhashed_models] == ["a.gguf"]
    said: list[str] = []
    lock = select("small", say=said.append).lock
    (model,) = lock.models
    assert model.hashed_on_download
    assert ModelStore(Cache.from_environment().models).holds(model.sha256)
    copies = [lock_path, Cache.from_environment().resolved / "small.lock.json"]
    for copy in copies:
        assert load_lock(copy) == lock
        assert f"Wrote {copy}: the lock is complete" in said
    # Resolving again keeps it, and gives the same bytes.
    content = lock_path.read_bytes()
    resolve("small", offline=True)
    assert lock_path.read_bytes() == content
    assert select("small", offline=True).lock == lock


def test_a_model_that_is_stored_already_was_not_downloaded_to_complete_the_lock(
    lock_path: Path,
) -> None:
    copies = [lock_path, Cache.from_environment().resolved / "small.lock.json"]
    incomplete = [copy.read_bytes() for copy in copies]
    first = select("small")
    assert first.downloaded == {model.sha256 for model in first.lock.models}
    # As where another of its models could not be downloaded.
    for copy, content in zip(copies, incomplete, strict=True):
        copy.write_bytes(content)
    again = select("small")
    assert again.lock == first.lock
    assert again.downloaded == frozenset()


def test_a_lock_that_was_named_by_its_file_is_completed_there(
    lock_path: Path, tmp_path: Path
) -> None:
    mine = lock_path.with_name("mine.lock.json")
    shutil.copy(lock_path, mine)
    before = lock_path.read_bytes()
    assert select("small", lock=mine).lock == load_lock(mine)
    assert load_lock(mine).unhashed_models == []
    assert lock_path.read_bytes() == before


def test_an_empty_id_is_an_error_beside_a_lock_too(workspace: Path) -> None:
    select("small")
    lock = workspace / "lockfiles" / "comfy-small.lock.json"
    with pytest.raises(InvalidInputError, match="the version id is empty"):
        select("", lock=lock)


def test_offline_an_incomplete_lock_is_reported_with_what_it_lacks(lock_path: Path) -> None:
    before = lock_path.read_bytes()
    with pytest.raises(UnavailableError, match=r"the sha256 of 1 model \(a.gguf\)") as caught:
        select("small", offline=True)
    assert "resolve small --hash-models" in caught.value.remedy
    assert lock_path.read_bytes() == before


def test_a_dry_run_only_says_that_the_lock_is_incomplete(lock_path: Path) -> None:
    before, said = lock_path.read_bytes(), list[str]()
    assert select("small", write=False, say=said.append).lock.models == []
    assert said[-1].endswith("realize would download a.gguf")
    assert lock_path.read_bytes() == before


def test_resolve_completes_the_lock_when_asked(
    lock_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["resolve", "small", "--json"]) == 0
    told = capsys.readouterr()
    assert "resolve small --hash-models" in told.err
    assert json.loads(told.out)["unhashed_models"] == ["a.gguf"]
    assert run_command_line(["resolve", "small", "--hash-models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unhashed_models"] == []
    assert load_lock(lock_path).unhashed_models == []
    assert run_command_line(["resolve", "small", "--hash-models", "--offline"]) == 2
    assert run_command_line(["resolve", "small", "--hash-models", "--check"]) == 2


def test_verify_models_completes_the_lock_first(lock_path: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    asked = ["verify-models", "--version-id", "small", "--models-dir", str(models)]
    assert run_command_line(asked) == 0
    assert load_lock(lock_path).unhashed_models == []
    assert (models / "vae/a.gguf").read_bytes() == b"GGUF weights"


def test_commands_that_complete_a_lock_at_once_download_its_models_once(
    lock_path: Path,
) -> None:
    said: list[str] = []
    locks = in_parallel(lambda _: select("small", say=said.append).lock, range(4))
    assert all(lock == locks[0] for lock in locks)
    assert len([line for line in said if line.startswith("Downloading")]) == 1


def test_a_project_is_named_from_elsewhere_and_nothing_is_written_there(
    workspace: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    with pytest.raises(UnavailableError, match=f"{elsewhere}/versions/small.json"):
        resolve("small")
    assert resolve("small", project=workspace).path.parent == workspace / "lockfiles"
    assert select("small", project=workspace, offline=True).base_dir == workspace / "versions"
    core = workspace / "versions" / "core"
    assert create("mine", repo=core, project=workspace).path == workspace / "versions" / "mine.json"
    assert list(elsewhere.iterdir()) == []


def test_without_a_project_a_spec_is_written_to_the_working_directory(
    workspace: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    created = create("mine", repo=workspace / "versions" / "core")
    assert created.path == elsewhere / "versions" / "mine.json"


def test_resolve_prints_where_the_lock_is_and_its_digest(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["resolve", "small", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["path"] == str(workspace / "lockfiles" / "comfy-small.lock.json")
    assert told["digest"].startswith("sha256:")


def test_upgrade_forgets_pins_that_a_plain_resolve_keeps(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = workspace / "index"
    publish(index, "alpha", "1.0")
    (workspace / "versions" / "core" / "requirements.txt").write_text("alpha\n")
    lock = workspace / "lockfiles" / "comfy-small.lock.json"
    with serve_index(index, monkeypatch):
        assert run_command_line(["resolve", "small"]) == 0
        publish(index, "alpha", "2.0")
        before = lock.read_bytes()
        assert run_command_line(["resolve", "small"]) == 0
        assert lock.read_bytes() == before
        assert run_command_line(["resolve", "small", "--upgrade"]) == 0
    (alpha,) = json.loads(lock.read_text())["python"]["wheels"]
    assert alpha["version"] == "2.0"


def test_a_lock_named_by_lock_path_must_answer_the_spec(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _select()
    lock = workspace / "lockfiles" / "comfy-small.lock.json"
    monkeypatch.setenv("LOCK_PATH", str(lock))
    assert _select(offline=True) == "small"
    spec = workspace / "versions" / "small.json"
    spec.write_text(json.dumps(json.loads(spec.read_text()) | {"env": {"A": "b"}}))
    with pytest.raises(InvalidInputError, match="LOCK_PATH"):
        _select()


def test_a_lock_file_can_be_used_without_its_spec(workspace: Path) -> None:
    _select()
    lock = workspace / "lockfiles" / "comfy-small.lock.json"
    (workspace / "versions" / "small.json").unlink()
    assert _select(lock=lock, offline=True) == "small"


def test_a_lock_of_another_version_than_the_one_asked_for_is_refused(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _select()
    lock = workspace / "lockfiles" / "comfy-small.lock.json"
    assert run_command_line(["realize", "large", "--lock", str(lock), "--dry-run"]) == 2
    told = capsys.readouterr().err
    assert "'large'" in told
    assert "'small'" in told


def _edit(workspace: Path) -> None:
    (workspace / "versions" / "core" / "main.py").write_text("print('edited')\n")


def test_an_edited_folder_is_reported_with_the_command_that_takes_it_in(workspace: Path) -> None:
    path = _lock_of(workspace)
    _select()
    before = path.read_bytes()
    _edit(workspace)
    for lock in (None, path):
        said: list[str] = []
        select("small", lock=lock, command="realize {} --update", say=said.append)
        (warning,) = said
        assert warning == (
            f"Warning: core: {workspace / 'versions' / 'core'} was changed since it was locked; "
            "its locked version is used. To use the change: runpod-comfy realize small --update"
        )
    said = []
    select("small", say=said.append)
    assert said[0].endswith("To use the change: runpod-comfy resolve small")
    assert path.read_bytes() == before


def test_update_resolves_again_where_a_folder_was_edited_and_only_there(workspace: Path) -> None:
    path = _lock_of(workspace)
    _select()
    before = path.read_bytes()
    said: list[str] = []
    assert select("small", update=True, say=said.append).path == path
    assert (said, path.read_bytes()) == ([], before)
    _edit(workspace)
    # What a node needs is known, so that no network is needed.
    updated = select("small", update=True, offline=True, say=said.append)
    assert said[0] == "Changed since the lock was made: core. Resolving again"
    assert load_lock(path) == updated.lock
    assert path.read_bytes() != before
    assert select("small", say=said.append).lock == updated.lock
    assert not any(line.startswith("Warning") for line in said)


@pytest.mark.parametrize("update", [False, True])
def test_each_folder_is_read_once(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, update: bool
) -> None:
    _select()
    hashed: list[Path] = []

    def hash_and_count(path: Path) -> str:
        hashed.append(path)
        return tree_hash(path)

    monkeypatch.setattr(folders, "tree_hash", hash_and_count)
    select("small", update=update)
    assert hashed == [workspace / "versions" / "core"]


def test_a_folder_that_is_gone_is_reported_and_its_pin_is_kept(workspace: Path) -> None:
    _select()
    before = _lock_of(workspace).read_bytes()
    shutil.rmtree(workspace / "versions" / "core")
    said: list[str] = []
    select("small", update=True, say=said.append)
    assert "is gone; its locked version is used. Put it back" in said[0]
    assert _lock_of(workspace).read_bytes() == before


def test_update_makes_a_lock_so_none_can_be_chosen(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _select()
    lock = _lock_of(workspace)
    with pytest.raises(InvalidInputError, match="--lock names one"):
        select("small", lock=lock, update=True)
    monkeypatch.setenv("LOCK_PATH", str(lock))
    with pytest.raises(InvalidInputError, match="LOCK_PATH names one"):
        select("small", update=True)


def test_resolve_reports_an_edited_folder_that_the_spec_itself_pins(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = workspace / "versions" / "small.json"
    document = json.loads(spec.read_text())
    document["comfy"]["commit"] = tree_hash(workspace / "versions" / "core")
    spec.write_text(json.dumps(document))
    assert run_command_line(["resolve", "small"]) == 0
    assert "Warning" not in capsys.readouterr().err
    _edit(workspace)
    assert run_command_line(["resolve", "small"]) == 0
    assert "To use the change: runpod-comfy resolve small --upgrade core" in capsys.readouterr().err
    assert run_command_line(["resolve", "small", "--upgrade", "core"]) == 0
    assert "Warning" not in capsys.readouterr().err
    assert json.loads(spec.read_text())["comfy"]["commit"] != document["comfy"]["commit"]


def _lock_of(workspace: Path) -> Path:
    return workspace / "lockfiles" / "comfy-small.lock.json"
