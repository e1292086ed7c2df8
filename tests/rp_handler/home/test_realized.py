from __future__ import annotations

from pathlib import Path

import pytest

from comfy_errors import InvalidInputError, UnavailableError
from comfy_home.layout import find_home
from comfy_home.manifest import CheckReport, Manifest, save_manifest
from rp_handler.home.realized import open_home


def test_a_home_is_found_by_flag_then_variable_then_id(tmp_path: Path) -> None:
    environment = {"COMFY_HOME": "/var/home"}
    assert find_home("demo", tmp_path, environment) == tmp_path
    assert find_home("demo", None, environment) == Path("/var/home")
    assert find_home("demo", None, {}) == Path.home() / "comfy-demo"


def test_a_finished_version_is_opened(home: Path) -> None:
    opened = open_home(home, version_id="demo", id_was_asked=True)
    assert opened.python == home / ".venv/bin/python"
    assert opened.other_models is None
    assert opened.recorded_classes is None


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        ("{", "is not valid JSON"),
        ("[]", "is not a JSON object"),
        ('{"KSampler": 5}', 'has no JSON object for the node class "KSampler"'),
    ],
)
def test_a_broken_record_of_node_classes_is_one_sentence(
    home: Path, record: str, fault: str
) -> None:
    opened = open_home(home, version_id="demo", id_was_asked=True)
    opened.object_info.write_text(record)
    with pytest.raises(InvalidInputError) as caught:
        _ = opened.recorded_classes
    where = f"the record of node classes {opened.object_info}"
    assert caught.value.message.startswith(f"{where} {fault}")
    assert caught.value.remedy == f"Delete it and realize {home} again."


def test_what_is_not_realized_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no version is realized at") as caught:
        open_home(tmp_path, version_id="mine", id_was_asked=True)
    command = f"runpod-comfy realize --version-id mine --target {tmp_path}"
    assert caught.value.remedy == f"Run: {command}"


def test_an_unfinished_version_is_not_run(home: Path) -> None:
    save_manifest(home, Manifest(version_id="demo", complete=False))
    with pytest.raises(UnavailableError, match="not completely realized") as caught:
        open_home(home, version_id="other", id_was_asked=False)
    command = f"runpod-comfy realize --version-id demo --target {home}"
    assert caught.value.remedy == f"Run: {command}"


def test_a_damaged_version_is_reported(home: Path) -> None:
    (home / "ComfyUI/main.py").unlink()
    with pytest.raises(UnavailableError, match=r"damaged: .*main\.py is missing"):
        open_home(home, version_id="demo", id_was_asked=True)


def test_another_version_than_asked_for_is_refused_saying_both(home: Path) -> None:
    with pytest.raises(InvalidInputError, match='holds the version "demo", not "other"'):
        open_home(home, version_id="other", id_was_asked=True)
    assert open_home(home, version_id="other", id_was_asked=False).root == home


def test_a_home_made_by_init_is_run_as_it_is(home: Path) -> None:
    save_manifest(home, Manifest(kind="init"))
    assert open_home(home, version_id="any", id_was_asked=True).manifest.kind == "init"


def test_a_foreign_models_folder_is_searched_first(home: Path, tmp_path: Path) -> None:
    check = CheckReport(
        comfyui_version="1",
        node_classes={},
        folder_names={"loras": ["loras"]},
        flags=[],
    )
    save_manifest(home, Manifest(version_id="demo", complete=True, check=check))
    other = tmp_path / "shared"
    (other / "loras").mkdir(parents=True)
    (other / "loras/x.pth").touch()
    opened = open_home(home, version_id="demo", id_was_asked=False, models_dir=other)
    assert opened.other_models == other
    assert opened.model_folders().holds(["loras"], "x.pth")
    own = open_home(home, version_id="demo", id_was_asked=False, models_dir=home / "models")
    assert own.other_models is None


def test_the_folder_that_a_version_shares_models_in_may_have_others_or_none(
    home: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    save_manifest(home, Manifest(version_id="demo", complete=True, models_dir=str(shared)))
    empty = open_home(home, version_id="demo", id_was_asked=False, models_dir=shared)
    assert empty.other_models is None
    shared.mkdir()
    filled = open_home(home, version_id="demo", id_was_asked=False, models_dir=shared)
    assert filled.other_models == shared


def test_a_models_folder_that_is_not_there_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no models folder at"):
        open_home(home, version_id="demo", id_was_asked=False, models_dir=tmp_path / "none")
