"""A lock into a home, with the real scripts, uv and files."""

from __future__ import annotations

import errno
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from comfy_errors import (
    InvalidInputError,
    MismatchError,
    OperationFailedError,
    UnavailableError,
)
from comfy_home.manifest import Manifest, load_manifest, save_manifest
from runpod_comfy.homes.run import RealizeResult, realize
from tests.package_index import serve_index, write_index
from tests.runpod_comfy.homes.conftest import Version, built, imports, snapshot, times


def _recalled(result: RealizeResult) -> list[str]:
    return [layer.name for layer in result.layers if layer.outcome == "recalled"]


def test_a_home_holds_core_node_environment_and_marker(version: Version) -> None:
    result = realize(version.job())
    home = version.home
    assert (home / "ComfyUI/main.py").read_text() == "print('core')\n"
    assert not (home / "ComfyUI").is_symlink()
    assert (home / "ComfyUI/custom_nodes/painter/__init__.py").is_file()
    assert (home / "ComfyUI/extra_model_paths.yaml").is_file()
    assert imports(home, "alpha, torchlike")
    manifest = load_manifest(home)
    assert manifest is not None
    assert manifest.complete
    assert manifest.version_id == "small"
    assert manifest.lock_digest == version.lock().digest
    assert set(manifest.layers) == {layer.name for layer in result.layers}
    assert manifest.check is not None
    assert result.changed


def test_a_second_time_nothing_is_written_and_no_process_is_started(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    version.models = [version.model("a.bin", "weights")]
    realize(version.job())
    before = times(version.folder)

    def refuse(*_arguments: object, **_options: object) -> NoReturn:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    result = realize(version.job())
    assert not result.changed
    assert built(result) == []
    assert times(version.folder) == before


def test_a_changed_node_is_all_that_is_made_again(version: Version) -> None:
    realize(version.job())
    version.write("painter/__init__.py", "NODE_CLASS_MAPPINGS = {'Other': 1}\n")
    result = realize(version.job())
    assert built(result) == ["node:painter", "check"]
    placed = version.home / "ComfyUI/custom_nodes/painter/__init__.py"
    assert "Other" in placed.read_text()


def test_a_node_that_left_the_lock_leaves_the_home_and_no_other_does(version: Version) -> None:
    version.nodes = ["painter", "dancer"]
    version.write("dancer/__init__.py", "")
    realize(version.job())
    mine = version.home / "ComfyUI/custom_nodes/mine/__init__.py"
    mine.parent.mkdir()
    mine.write_text("MINE = 1")
    version.nodes = ["painter"]
    result = realize(version.job())
    assert result.removed_nodes == ("dancer",)
    assert not (version.home / "ComfyUI/custom_nodes/dancer").exists()
    assert mine.read_text() == "MINE = 1"
    manifest = load_manifest(version.home)
    assert manifest is not None
    assert "node:dancer" not in manifest.layers


def test_a_changed_package_makes_the_environment_again_and_nothing_else(version: Version) -> None:
    realize(version.job())
    version.wheels = [version.wheel("beta", "2.0")]
    result = realize(version.job())
    assert built(result) == ["torch", "wheels", "check"]
    assert imports(version.home, "beta")
    assert not imports(version.home, "alpha")


def test_a_changed_core_keeps_the_nodes_and_the_environment(version: Version) -> None:
    realize(version.job())
    version.write("core/main.py", "print('newer')\n")
    assert built(realize(version.job())) == ["core", "models", "check"]
    assert (version.home / "ComfyUI/main.py").read_text() == "print('newer')\n"
    assert (version.home / "ComfyUI/custom_nodes/painter/__init__.py").is_file()


@pytest.mark.parametrize(
    ("gone", "made"),
    [
        ("ComfyUI/custom_nodes/painter", ["node:painter"]),
        (".venv", ["torch", "wheels"]),
        ("ComfyUI", ["core", "models", "node:painter"]),
    ],
)
def test_what_a_user_removed_is_put_back(version: Version, gone: str, made: list[str]) -> None:
    realize(version.job())
    complete = snapshot(version.home)
    (version.home / gone).rename(version.folder / "gone")
    assert built(realize(version.job())) == made
    assert snapshot(version.home) == complete


def test_a_check_of_the_same_layers_is_made_once(version: Version) -> None:
    first = realize(version.job(version.folder / "one"))
    second = realize(version.job(version.folder / "two"))
    assert [result.layers[-1].outcome for result in (first, second)] == ["built", "recalled"]
    markers = [load_manifest(version.folder / name) for name in ("one", "two")]
    assert markers[0] is not None
    assert markers[1] is not None
    assert markers[0].check == markers[1].check
    assert (version.folder / "two/.comfy_object_info.json").is_file()


def test_a_home_is_the_same_wherever_it_is(version: Version) -> None:
    realize(version.job(version.folder / "one"))
    realize(version.job(version.folder / "deeper/two"))
    # The marker names its models folder; pyvenv.cfg and the links of the interpreter do not differ.
    left_out = [".comfy_env", ".comfy_lock"]
    one = snapshot(version.folder / "one", leave_out=left_out)
    assert one == snapshot(version.folder / "deeper/two", leave_out=left_out)


def test_an_environment_of_the_same_packages_is_made_once(version: Version) -> None:
    one, two = version.folder / "one", version.folder / "two"
    realize(version.job(one))
    outcomes = {layer.name: layer.outcome for layer in realize(version.job(two)).layers}
    assert (outcomes["torch"], outcomes["wheels"]) == ("recalled", "recalled")
    assert imports(two, "alpha, torchlike")
    bytecode = [next((home / ".venv").rglob("alpha.*.pyc")) for home in (one, two)]
    assert bytecode[0].samefile(bytecode[1])
    assert [path.stat().st_mtime for path in (one / ".venv").rglob("*.dist-info")] == [
        path.stat().st_mtime for path in (two / ".venv").rglob("*.dist-info")
    ]


def test_a_kept_environment_whose_interpreter_is_gone_is_made_again(version: Version) -> None:
    realize(version.job(version.folder / "one"))
    (entry,) = version.cache.environments.iterdir()
    (entry / "bin/python").unlink()
    (entry / "bin/python").symlink_to("/no/longer/there/python")
    outcomes = {layer.name: layer.outcome for layer in realize(version.job()).layers}
    assert (outcomes["torch"], outcomes["wheels"]) == ("built", "built")
    assert (entry / "bin/python").exists()


def test_an_environment_that_cannot_be_shared_is_made_in_each_home(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> NoReturn:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)
    said: list[str] = []
    for name in ("one", "two"):
        realize(version.job(version.folder / name, say=said.append))
        assert imports(version.folder / name, "alpha")
    assert any("packages are copied" in message for message in said)
    source = [next((version.folder / name).rglob("alpha.py")) for name in ("one", "two")]
    assert not source[0].samefile(source[1])


def test_two_versions_side_by_side_share_caches_and_nothing_else(version: Version) -> None:
    one, two = version.folder / "one", version.folder / "two"
    realize(version.job(one))
    version.nodes = ["dancer"]
    version.write("dancer/__init__.py", "")
    version.wheels = [version.wheel("beta", "2.0")]
    realize(version.job(two, lock=version.lock("other")))
    assert [path.name for path in (one / "ComfyUI/custom_nodes").iterdir()] == ["painter"]
    assert [path.name for path in (two / "ComfyUI/custom_nodes").iterdir()] == ["dancer"]
    assert not imports(one, "beta")
    assert not imports(two, "alpha")
    shared = [next((home / ".venv").rglob("torchlike.py")) for home in (one, two)]
    assert shared[0].samefile(shared[1])


def test_an_unmanaged_node_that_breaks_an_update_fails_it_in_the_words_of_the_check(
    version: Version,
) -> None:
    realize(version.job())
    folder = version.home / "ComfyUI/custom_nodes"
    (folder / "fine.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
    (folder / "single.py").write_text("import no_such_module\n")
    version.write("painter/__init__.py", "# edited\n")
    with pytest.raises(OperationFailedError, match="no_such_module") as caught:
        realize(version.job())
    assert caught.value.message.startswith("single.py did not import: ")
    log = version.home / ".comfy_logs/check.log"
    assert caught.value.remedy == f"The whole output is in {log}."
    assert "no_such_module" in log.read_text()
    (folder / "single.py").unlink()
    assert built(realize(version.job())) == ["check"]


def test_what_a_check_learned_beside_an_unmanaged_node_holds_for_that_home_alone(
    version: Version,
) -> None:
    realize(version.job())
    folder = version.home / "ComfyUI/custom_nodes"
    (folder / "byhand").mkdir()
    (folder / "byhand/__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
    version.write("painter/__init__.py", "# edited\n")
    classes = []
    for target in (version.home, version.folder / "other"):
        realize(version.job(target))
        manifest = load_manifest(target)
        assert manifest is not None
        assert manifest.check is not None
        classes.append(set(manifest.check.node_classes))
    assert classes == [{"byhand", "painter"}, {"painter"}]


@pytest.mark.parametrize("occupant", ["version", "init", "core", "environment", "file"])
def test_a_target_that_is_someone_elses_is_left_untouched(version: Version, occupant: str) -> None:
    home = version.home
    if occupant == "file":
        home.write_text("a file")
    else:
        home.mkdir()
    if occupant == "version":
        save_manifest(home, Manifest(version_id="other", complete=True))
    if occupant == "init":
        save_manifest(home, Manifest(kind="init"))
    if occupant == "core":
        (home / "ComfyUI").mkdir()
    if occupant == "environment":
        (home / ".venv").mkdir()
    before = times(version.folder)
    with pytest.raises(InvalidInputError, match=str(home)):
        realize(version.job())
    assert times(version.folder) == before


def test_a_folder_with_a_nodes_name_that_we_did_not_make_is_left_alone(version: Version) -> None:
    realize(version.job())
    mine = version.home / "ComfyUI/custom_nodes/dancer/__init__.py"
    mine.parent.mkdir()
    mine.write_text("mine")
    version.nodes = ["painter", "dancer"]
    version.write("dancer/__init__.py", "")
    with pytest.raises(InvalidInputError, match="dancer already exists"):
        realize(version.job())
    assert mine.read_text() == "mine"


def test_a_node_that_does_not_import_fails_the_check_and_is_named(version: Version) -> None:
    version.write("painter/__init__.py", "import no_such_module\n")
    with pytest.raises(OperationFailedError, match=r"painter did not import: .*no_such_module"):
        realize(version.job())
    manifest = load_manifest(version.home)
    assert manifest is not None
    assert not manifest.complete
    version.write("painter/__init__.py", "")
    assert built(realize(version.job())) == ["node:painter", "check"]


def test_a_check_is_made_again_once_a_need_that_was_unmet_is_met(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    version.write("painter/__init__.py", "import os\nos.environ['SOME_KEY']\n")
    version.changes["import_needs"] = {"painter": ["env:SOME_KEY"]}
    said: list[str] = []
    first = realize(version.job(say=said.append))
    assert first.not_imported["painter"].needs == ["env:SOME_KEY"]
    told = "Warning: the custom node painter was not imported, because it needs the variable SOME_K"
    assert [line[: len(told)] for line in said if "Warning: the custom" in line] == [told]
    again = realize(version.job())
    assert not again.changed
    assert again.not_imported == first.not_imported
    other = version.folder / "other"
    assert _recalled(realize(version.job(other)))[-1] == "check"

    monkeypatch.setenv("SOME_KEY", "x")
    met = realize(version.job())
    assert built(met) == ["check"]
    assert met.not_imported == {}
    # What a machine with more has seen holds for one with less, not the other way.
    assert _recalled(realize(version.job(other)))[-1] == "check"
    monkeypatch.delenv("SOME_KEY")
    assert not realize(version.job()).changed
    third = realize(version.job(version.folder / "third"))
    assert _recalled(third)[-1] == "check"
    assert third.not_imported == {}


@pytest.mark.parametrize("folder", ["person", "."], ids=["home folder", "its parent"])
def test_a_persons_home_folder_does_not_become_a_version(
    version: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    (tmp_path / "person").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    with pytest.raises(InvalidInputError, match="your home folder"):
        realize(replace(version.job(), target=tmp_path / folder))


@pytest.mark.parametrize("place", ["file", "file/home"])
def test_a_target_that_is_a_file_or_below_one_is_named(
    version: Version, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match="file is not a folder"):
        realize(replace(version.job(), target=tmp_path / place))


def test_a_package_with_other_bytes_than_locked_is_refused(version: Version) -> None:
    wheel = version.wheels[0]
    wrong = wheel.files[0].model_copy(update={"sha256": "0" * 64})
    version.wheels = [wheel.model_copy(update={"files": [wrong]})]
    with pytest.raises(MismatchError, match=r"alpha-1\.0.* not have the sha256"):
        realize(version.job())


def test_an_unavailable_package_is_named_and_the_next_run_continues(version: Version) -> None:
    wheel = version.wheels_dir / version.wheels[0].files[0].name
    wheel.rename(version.folder / wheel.name)
    with pytest.raises(UnavailableError, match="alpha"):
        realize(version.job())
    (version.folder / wheel.name).rename(wheel)
    assert "core" in built(realize(version.job()))
    assert imports(version.home, "alpha")


def test_packages_come_from_the_index_that_pip_is_configured_to_use(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = version.folder / "index"
    root.mkdir()
    version.wheels_dir.rename(root / "files")
    write_index(root)
    with serve_index(root, monkeypatch):
        realize(version.job(wheels_dir=None))
    assert imports(version.home, "alpha")


def test_a_second_home_is_made_from_the_caches_alone(version: Version) -> None:
    realize(version.job(version.folder / "one"))
    job = version.job(version.folder / "two", offline=True)
    for name in ("core", "painter"):
        (version.folder / name).rename(version.folder / f"{name}-gone")
    realize(job)
    assert imports(version.folder / "two", "alpha")


def test_a_version_that_is_not_locked_for_this_machine_is_refused(version: Version) -> None:
    lock = version.lock()
    python = lock.python.model_copy(update={"platforms": ["macos-never"]})
    with pytest.raises(InvalidInputError, match="macos-never"):
        realize(version.job(lock=lock.model_copy(update={"python": python})))
    assert not version.home.exists()


def test_another_interpreter_than_the_locked_one_is_never_taken(version: Version) -> None:
    lock = version.lock()
    python = lock.python.model_copy(update={"version": "3.99"})
    with pytest.raises(UnavailableError, match=r"Python 3\.99") as caught:
        realize(version.job(lock=lock.model_copy(update={"python": python})))
    assert "uv python install 3.99" in caught.value.remedy


def test_a_disk_that_is_too_small_is_reported_before_anything_is_made(version: Version) -> None:
    file = version.wheels[0].files[0].model_copy(update={"size": 10**18})
    version.wheels = [version.wheels[0].model_copy(update={"files": [file]})]
    with pytest.raises(OperationFailedError, match=r"TB are needed .* are free"):
        realize(version.job())
    assert not version.home.exists()
