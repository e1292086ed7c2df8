"""From a spec to a lock, with real folders and a real index on loopback."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfy_errors import (
    ComfyError,
    InvalidInputError,
    MismatchError,
    OperationFailedError,
    UnavailableError,
)
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.lock.model import Lock
from runpod_comfy.lock.resolve import resolve
from runpod_comfy.lock.store import find_lock, load_lock, write_lock
from runpod_comfy.spec.digest import spec_digest
from runpod_comfy.spec.load import load_spec
from tests.package_index import make_wheel, write_index


def _resolve(workspace: Any, fetch_context: FetchContext, previous: Lock | None = None) -> Lock:
    return resolve(load_spec(workspace.save()), fetch_context=fetch_context, previous=previous)


def _versions(lock: Lock) -> dict[str, str]:
    return {item.name: item.version for item in (*lock.python.torch, *lock.python.wheels)}


def _on_another_machine(fetch_context: FetchContext) -> FetchContext:
    """The same with empty caches, so that no remembered answer can stand in for a kept pin."""
    root = fetch_context.cache.root.with_name("another-cache")
    return replace(fetch_context, cache=Cache(root=root))


def test_twice_gives_identical_bytes(
    workspace: Any, fetch_context: FetchContext, index: Path
) -> None:
    first = _resolve(workspace, fetch_context)
    assert first.to_bytes() == _resolve(workspace, fetch_context).to_bytes()
    assert first.to_bytes() == _resolve(workspace, fetch_context, previous=first).to_bytes()


def test_the_lock_names_no_index_of_the_machine(
    workspace: Any, fetch_context: FetchContext, index: Path
) -> None:
    text = _resolve(workspace, fetch_context).to_bytes().decode()
    assert "127.0.0.1" not in text
    assert str(workspace.folder) not in text


def test_every_distribution_has_its_hash_and_who_asked_for_it(
    workspace: Any, fetch_context: FetchContext, index: Path
) -> None:
    workspace.write("painter/requirements.txt", "# palette\nalpha>=1\n")
    lock = _resolve(workspace, fetch_context)
    alpha, gamma = lock.python.wheels
    wheel = index / "files" / "alpha-2.0-py3-none-any.whl"
    assert [file.sha256 for file in alpha.files] == [hashlib.sha256(wheel.read_bytes()).hexdigest()]
    assert alpha.requested_by == {"core": ["alpha"], "node:painter": ["alpha>=1"]}
    assert gamma.requested_by == {}
    assert gamma.required_by == ["alpha"]


def test_core_and_nodes_are_solved_together(
    workspace: Any, fetch_context: FetchContext, index: Path
) -> None:
    workspace.write("painter/requirements.txt", "alpha<2\n")
    assert _versions(_resolve(workspace, fetch_context))["alpha"] == "1.0"


def test_a_conflict_names_both_lines(
    workspace: Any, fetch_context: FetchContext, index: Path
) -> None:
    workspace.write("core/requirements.txt", "alpha>=2\n")
    workspace.write("painter/requirements.txt", "\nalpha<2\n")
    with pytest.raises(OperationFailedError) as caught:
        _resolve(workspace, fetch_context)
    told = caught.value.message + caught.value.remedy
    assert "core, requirements.txt line 1: alpha>=2" in told
    assert "node:painter, requirements.txt line 2: alpha<2" in told


def test_an_override_of_the_spec_settles_a_conflict(
    workspace: Any, fetch_context: FetchContext, index: Path
) -> None:
    workspace.write("core/requirements.txt", "alpha>=2\n")
    workspace.write("painter/requirements.txt", "alpha<2\n")
    workspace.document["options"] = {"overrides": ["alpha==1.0"]}
    lock = _resolve(workspace, fetch_context)
    assert _versions(lock)["alpha"] == "1.0"
    assert lock.python.overrides == ["alpha==1.0"]


def test_a_lock_of_an_earlier_program_gets_its_cuda_though_no_index_is_asked(
    workspace: Any, fetch_context: FetchContext, index: Path
) -> None:
    make_wheel(index / "files", "torch", "2.11.0", requires=["cuda-toolkit==13.0.2"])
    make_wheel(index / "files", "cuda-toolkit", "13.0.2")
    write_index(index)
    workspace.write("core/requirements.txt", "torch\n")
    lock = _resolve(workspace, fetch_context)
    assert lock.python.cuda == "13.0"
    earlier = lock.model_copy(update={"python": lock.python.model_copy(update={"cuda": None})})
    shutil.rmtree(index / "simple")
    assert _resolve(workspace, fetch_context, earlier).python.cuda == "13.0"


def test_a_pin_is_kept_when_a_newer_release_appears(
    workspace: Any, fetch_context: FetchContext, index: Path
) -> None:
    first = _resolve(workspace, fetch_context)
    make_wheel(index / "files", "alpha", "3.0", requires=["gamma"])
    write_index(index)
    again = _resolve(workspace, _on_another_machine(fetch_context), previous=first)
    assert again.to_bytes() == first.to_bytes()
    assert _versions(_resolve(workspace, fetch_context))["alpha"] == "3.0"


def test_a_wheel_uploaded_later_for_an_old_release_changes_nothing(
    workspace: Any, fetch_context: FetchContext, index: Path
) -> None:
    first = _resolve(workspace, fetch_context)
    make_wheel(index / "files", "gamma", "1.0", tag="cp311-abi3-manylinux_2_17_x86_64")
    write_index(index)
    again = _resolve(workspace, _on_another_machine(fetch_context), previous=first)
    assert again.to_bytes() == first.to_bytes()
    assert _resolve(workspace, fetch_context).to_bytes() != first.to_bytes()


def test_a_distribution_for_one_platform_keeps_a_brief_marker(
    workspace: Any, fetch_context: FetchContext, index: Path
) -> None:
    workspace.write(
        "core/requirements.txt",
        "alpha\nlinux-only; platform_system == 'Linux'\nnever; os_name=='nt'\n",
    )
    lock = _resolve(workspace, fetch_context)
    markers = {item.name: item.marker for item in lock.python.wheels}
    assert markers == {
        "alpha": None,
        "gamma": None,
        "linux-only": "sys_platform == 'linux' and platform_machine == 'x86_64'",
    }


def test_torch_is_held_back_to_a_whole_family(
    workspace: Any, fetch_context: FetchContext, index: Path
) -> None:
    for name, version, requires in (
        ("torch", "2.11.0", ()),
        ("torch", "2.15.0", ()),
        ("torchvision", "0.26.0", ["torch==2.11.0"]),
        ("torchvision", "0.30.0", ["torch==2.15.0"]),
        ("torchaudio", "2.11.0", ()),
    ):
        make_wheel(index / "files", name, version, requires=requires)
    write_index(index)
    workspace.write("core/requirements.txt", "torch\ntorchvision\ntorchaudio\nalpha\n")
    lock = _resolve(workspace, fetch_context)
    assert {item.name: item.version for item in lock.python.torch} == {
        "torch": "2.11.0",
        "torchvision": "0.26.0",
        "torchaudio": "2.11.0",
    }
    assert [item.name for item in lock.python.wheels] == ["alpha", "gamma"]


def test_the_spec_decides_the_torch_version(
    workspace: Any, fetch_context: FetchContext, index: Path
) -> None:
    for version in ("2.10.0", "2.11.0"):
        make_wheel(index / "files", "torch", version)
    write_index(index)
    workspace.write("core/requirements.txt", "torch\n")
    workspace.document["options"] = {"torch": {"version": "2.10.0"}}
    assert _versions(_resolve(workspace, fetch_context))["torch"] == "2.10.0"


def test_the_torch_family_can_come_from_an_index_of_its_own(
    workspace: Any, fetch_context: FetchContext, index: Path, tmp_path: Path
) -> None:
    other = tmp_path / "torch-index"
    (other / "files").mkdir(parents=True)
    for name, version in (("torch", "2.11.0+cpu"), ("torchvision", "0.26.0+cpu")):
        make_wheel(other / "files", name, version)
    make_wheel(other / "files", "torchaudio", "2.11.0+cpu")
    make_wheel(other / "files", "alpha", "9.0")
    write_index(other)
    make_wheel(index / "files", "torch", "2.15.0")
    write_index(index)
    workspace.write("core/requirements.txt", "torch\nalpha\n")
    url = (other / "simple").as_uri()
    workspace.document["options"] = {"torch": {"index": url}}
    lock = _resolve(workspace, fetch_context)
    assert _versions(lock)["torch"] == "2.11.0+cpu"
    assert _versions(lock)["alpha"] == "2.0"
    assert lock.python.torch_index == url


def test_a_core_that_imports_requests_without_listing_it_gets_it(
    workspace: Any, fetch_context: FetchContext, index: Path
) -> None:
    make_wheel(index / "files", "requests", "2.32.0")
    write_index(index)
    workspace.write("core/app/frontend_management.py", "import requests\n")
    lock = _resolve(workspace, fetch_context)
    (requests,) = (item for item in lock.python.wheels if item.name == "requests")
    assert requests.requested_by == {"core": ["requests"]}


@pytest.mark.parametrize("name", ["main.py", "folder_paths.py"])
def test_a_tree_that_is_no_comfyui_is_refused(
    workspace: Any, fetch_context: FetchContext, index: Path, name: str
) -> None:
    (workspace.folder / "core" / name).unlink()
    with pytest.raises(InvalidInputError, match=f"not ComfyUI: it has no {name}"):
        _resolve(workspace, fetch_context)


@pytest.mark.parametrize("line", ["-r other.txt", "-e .", "git+https://x/y", "a b c"])
def test_a_line_that_cannot_be_pinned_is_refused_by_name(
    workspace: Any, fetch_context: FetchContext, index: Path, line: str
) -> None:
    workspace.write("painter/requirements.txt", f"alpha\n{line}\n")
    with pytest.raises(InvalidInputError, match="node:painter, requirements.txt line 2"):
        _resolve(workspace, fetch_context)


def test_a_distribution_that_no_index_has_is_named(
    workspace: Any, fetch_context: FetchContext, index: Path
) -> None:
    workspace.write("core/requirements.txt", "no-such-thing\n")
    with pytest.raises(ComfyError, match="no-such-thing"):
        _resolve(workspace, fetch_context)


def test_an_index_that_does_not_answer_is_unavailable(
    workspace: Any, fetch_context: FetchContext, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(UnavailableError, match="index"):
        _resolve(workspace, fetch_context)


def test_models_are_pinned_by_hash_and_size(
    workspace: Any, fetch_context: FetchContext, index: Path
) -> None:
    workspace.write("models/tiny.safetensors", "weights")
    workspace.document["models"] = [
        {
            "name": "tiny.safetensors",
            "source": "models/tiny.safetensors",
            "target_subdir": "upscale_models",
        }
    ]
    (model,) = _resolve(workspace, fetch_context).models
    assert model.sha256 == hashlib.sha256(b"weights").hexdigest()
    assert (model.size, model.format) == (7, "safetensors")
    assert model.target_path == "upscale_models/tiny.safetensors"


def test_missing_model_files_are_all_named(
    workspace: Any, fetch_context: FetchContext, index: Path
) -> None:
    workspace.document["models"] = [
        {"name": name, "source": f"models/{name}", "target_subdir": "vae"} for name in ("a", "b")
    ]
    with pytest.raises(UnavailableError, match="a .*b "):
        _resolve(workspace, fetch_context)


def test_a_model_with_another_checksum_is_refused(
    workspace: Any, fetch_context: FetchContext, index: Path
) -> None:
    source = workspace.write("models/tiny", "weights").as_uri()
    workspace.document["models"] = [
        {
            "name": "tiny",
            "source": source,
            "target_subdir": "vae",
            "checksum": "sha256:" + "0" * 64,
        }
    ]
    with pytest.raises(MismatchError, match="tiny"):
        _resolve(workspace, fetch_context)


def test_a_written_lock_is_found_again_until_the_spec_changes(
    workspace: Any, fetch_context: FetchContext, index: Path
) -> None:
    lock = _resolve(workspace, fetch_context)
    written = write_lock(lock, spec_path=workspace.spec_path, cache=fetch_context.cache)
    assert [load_lock(path) for path in written] == [lock, lock]
    assert written[0] == workspace.folder.parent / "lockfiles" / "comfy-small.lock.json"

    def find() -> tuple[Lock, Path] | None:
        return find_lock(
            spec_digest=spec_digest(load_spec(workspace.save()).spec),
            spec_path=workspace.spec_path,
            version_id="small",
            cache=fetch_context.cache,
        )

    assert find() == (lock, written[0])
    workspace.document["env"] = {"A": "b"}
    assert find() is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"lock_version": 2}', '{"lock_version": 1}'])
def test_a_broken_lock_is_refused_with_its_path(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.lock.json"
    path.write_text(content)
    with pytest.raises(InvalidInputError, match="broken.lock.json"):
        load_lock(path)
