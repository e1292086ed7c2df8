"""A spec to its file: the guide's layout to the letter, and all of it or nothing."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError, OperationFailedError
from runpod_comfy.spec.load import load_spec, parse_spec
from runpod_comfy.spec.model import Spec
from runpod_comfy.spec.write import TreePlace, replace_commit, spec_text, write_spec

# The user's guide shows this text.
_GUIDE = """\
{
    "schema_version": 2,
    "version_id": "demo",
    "comfy": {
        "repo": "https://github.com/comfyanonymous/ComfyUI",
        "ref": "main",
        "commit": "1111111111111111111111111111111111111111"
    },
    "custom_nodes": [
        {
            "name": "ComfyUI-Custom-Scripts",
            "repo": "https://github.com/comfyanonymous/ComfyUI-Custom-Scripts",
            "ref": "main",
            "commit": "2222222222222222222222222222222222222222"
        }
    ],
    "models": [
        {
            "name": "model.safetensors",
            "source": "https://example.com/model.safetensors",
            "target_subdir": "checkpoints",
            "target_path": "checkpoints/model.safetensors",
            "checksum": "sha256:3333333333333333333333333333333333333333333333333333333333333333"
        }
    ],
    "env": {},
    "options": {}
}
"""


def small_spec(**fields: object) -> Spec:
    document = {"schema_version": 2, "version_id": "x", "comfy": {"repo": "core"}, **fields}
    return parse_spec(json.dumps(document), where="a test")


def test_the_guides_example_is_written_to_the_letter() -> None:
    assert spec_text(parse_spec(_GUIDE, where="the guide")) == _GUIDE


def test_everything_that_a_spec_can_say_survives_being_written(tmp_path: Path) -> None:
    model = {"name": "модель.bin", "source": "hf://o/n/m.bin", "target_subdir": "vae"}
    spec = small_spec(
        comfy={"repo": "pypi://core", "ref": "1.0", "subdir": "a/b"},
        custom_nodes=[{"name": "n", "repo": "./n", "subdir": "c", "commit": "tree:" + "1" * 40}],
        models=[{**model, "mirrors": ["https://e.com/m.bin"], "size": 0}],
        env={"GREETING": "Привет"},
        options={"torch": {"version": "2.11.0"}, "platforms": ["linux-x86_64"], "python": "3.12"},
    )
    path = tmp_path / "x.json"
    write_spec(spec, path, force=False)
    assert load_spec(path).spec == spec
    assert "Привет" in path.read_text(encoding="utf-8")


def test_what_is_not_set_is_not_written() -> None:
    document = json.loads(spec_text(small_spec()))
    assert document["comfy"] == {"repo": "core"}
    assert document["options"] == {}


def test_missing_folders_on_the_way_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "x.json"
    assert write_spec(small_spec(), path, force=False)
    assert path.read_text() == spec_text(small_spec())


def test_others_may_read_the_spec(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_spec(small_spec(), path, force=False)
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_folder_in_the_place_of_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="is a folder"):
        write_spec(small_spec(), tmp_path, force=True)


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "versions").write_text("not a folder")
    path = tmp_path / "versions" / "x.json"
    with pytest.raises(OperationFailedError, match="could not be written") as caught:
        write_spec(small_spec(), path, force=False)
    assert str(path) in caught.value.message
    assert "--output" in caught.value.remedy


@pytest.mark.parametrize("failing", ["replace", "chmod"])
def test_a_write_that_fails_leaves_the_old_spec_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "x.json"
    write_spec(small_spec(), path, force=False)

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, failing, full)
    with pytest.raises(OperationFailedError, match="disk full"):
        write_spec(small_spec(env={"A": "1"}), path, force=True)
    assert path.read_text() == spec_text(small_spec())
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_spec(small_spec(), tmp_path / "x.json", force=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_commit_is_replaced_in_its_place_and_nowhere_else(tmp_path: Path, mark: str) -> None:
    old, new = "1" * 40, "2" * 40
    text = (
        f'{mark}{{ "version_id":"x","custom_nodes":[\r\n\t{{"name":"a","commit":"{old}"}},'
        f'{{"commit":\t"{old}", "name":"b"}}], "comfy" : {{"commit": "{old}"}}}}'
    )
    path = tmp_path / "x.json"
    places: list[tuple[TreePlace, int]] = [(1, 1), ("core", 2)]
    for place, count in places:
        path.write_bytes(text.encode())
        replace_commit(path, place, old, new)
        before, after = text.split(old), path.read_bytes().decode().split(new)
        assert after == [old.join(before[: count + 1]), old.join(before[count + 1 :])]


def test_a_replaced_spec_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    core = {"repo": "https://example.org/core", "commit": "1" * 40}
    write_spec(small_spec(comfy=core), path, force=False)
    path.chmod(0o600)
    replace_commit(path, "core", "1" * 40, "2" * 40)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert write_spec(small_spec(), path, force=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_commit_that_is_not_there_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_spec(small_spec(), path, force=False)
    before = path.read_bytes()
    with pytest.raises(InvalidInputError, match="could not be replaced"):
        replace_commit(path, "core", "3" * 40, "4" * 40)
    assert path.read_bytes() == before
