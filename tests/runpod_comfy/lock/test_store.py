"""Lock files from elsewhere: broken ones, and hostile ones."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from comfy_errors import InvalidInputError, UnavailableError
from runpod_comfy.lock.store import load_lock
from tests.locks import bare_lock, tree

_MODEL = {"name": "x", "sources": [{"url": "x"}], "sha256": "a" * 64, "size": 1, "format": "other"}


def _write(folder: Path, **changes: Any) -> Path:
    path = folder / "comfy-small.lock.json"
    path.write_text(json.dumps(bare_lock().model_dump(mode="json") | changes))
    return path


def test_a_lock_is_read(tmp_path: Path) -> None:
    assert load_lock(_write(tmp_path)).version_id == "small"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"version_id": "../small"}, "version_id"),
        ({"custom_nodes": [tree("1", name="../painter")]}, "custom_nodes[0].name"),
        ({"models": [{"target_path": "../x", **_MODEL}]}, "models[0].target_path"),
        ({"models": [{"target_path": "/x", **_MODEL}]}, "models[0].target_path"),
        ({"models": [{**_MODEL, "target_path": "x", "sha256": "../x"}]}, "models[0].sha256"),
    ],
)
def test_a_lock_that_would_write_outside_the_home_is_refused(
    tmp_path: Path, changes: dict[str, Any], key: str
) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(f"is not valid: '{key}' must")):
        load_lock(_write(tmp_path, **changes))


@pytest.mark.parametrize(
    "models",
    [
        *({}, "x", [1], [{}], [{"source": 1}], [{"mirrors": 5}], [{"source": "x", "mirrors": 5}]),
        [{"source": None, "mirrors": [None, {}], "revision": 5}],
    ],
)
def test_wrong_models_of_an_earlier_lock_are_reported(tmp_path: Path, models: Any) -> None:
    with pytest.raises(InvalidInputError, match="is not valid: 'models"):
        load_lock(_write(tmp_path, lock_version=1, models=models))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is not valid JSON"),
        ("[]", "is not a JSON object"),
        ('{"lock_version": 9}', "version 9;"),
    ],
)
def test_a_file_that_is_not_a_lock_is_reported_with_a_next_step(
    tmp_path: Path, text: str, told: str
) -> None:
    path = tmp_path / "x.lock.json"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=told) as caught:
        load_lock(path)
    assert "runpod-comfy resolve" in caught.value.remedy


_SPEC = {"schema_version": 2, "version_id": "demo", "comfy": {"repo": "core"}}


@pytest.mark.parametrize(
    ("name", "document", "told", "next_step"),
    [
        ("demo.json", _SPEC, "is a spec, not a lock", "Pass it with --spec"),
        ("x.json", {"version_id": "demo"}, "is not a lock", "lockfiles/comfy-demo.lock.json"),
        ("x.json", {"nodes": []}, "is not a lock", "lockfiles/comfy-<id>.lock.json"),
        ("comfy-demo.lock.json", {}, "is not a lock", "runpod-comfy resolve demo --upgrade"),
        ("comfy-demo.lock.json", _SPEC, "is not a lock", "runpod-comfy resolve demo --upgrade"),
    ],
)
def test_another_json_file_is_not_called_a_lock_of_an_unknown_version(
    tmp_path: Path, name: str, document: dict[str, Any], told: str, next_step: str
) -> None:
    path = tmp_path / name
    path.write_text(json.dumps(document))
    with pytest.raises(InvalidInputError) as caught:
        load_lock(path)
    assert caught.value.message.startswith(f"{path} {told}")
    assert "None" not in caught.value.message
    assert next_step in caught.value.remedy


def test_a_spec_at_lock_path_is_named_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "demo.json"
    path.write_text(json.dumps(_SPEC))
    monkeypatch.setenv("LOCK_PATH", str(path))
    with pytest.raises(InvalidInputError, match="is a spec, not a lock") as caught:
        load_lock(path)
    assert caught.value.remedy == "Unset LOCK_PATH, and pass the file with --spec."


@pytest.mark.parametrize("text", ["{", "[]", '{"lock_version": 9}', '{"lock_version": 2}'])
def test_the_next_step_for_a_broken_lock_names_its_version(tmp_path: Path, text: str) -> None:
    path = tmp_path / "comfy-demo-2.lock.json"
    path.write_text(text)
    for asked, known in ((None, "demo-2"), ("other", "other")):
        with pytest.raises(InvalidInputError) as caught:
            load_lock(path, version_id=asked)
        assert f"runpod-comfy resolve {known} --upgrade" in caught.value.remedy


@pytest.mark.parametrize(("written", "known"), [("mine", "mine"), ("../mine", "<id>")])
def test_the_version_of_a_lock_with_another_name_is_the_one_in_it(
    tmp_path: Path, written: str, known: str
) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"lock_version": 9, "version_id": written}))
    with pytest.raises(InvalidInputError) as caught:
        load_lock(path)
    assert f"runpod-comfy resolve {known} --upgrade" in caught.value.remedy


def test_a_lock_that_is_not_there_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError) as caught:
        load_lock(tmp_path / "x.lock.json")
    assert "runpod-comfy resolve" in caught.value.remedy
