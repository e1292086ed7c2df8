"""From a spec to a lock, with real folders and a real index on loopback."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from comfy_errors import (
    InvalidInputError,
    MismatchError,
    UnavailableError,
)
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.lock.model import Lock
from runpod_comfy.lock.store import find_lock, last_lock, load_lock, write_lock
from runpod_comfy.spec.load import load_spec
from tests.package_index import make_wheel, write_index
from tests.runpod_comfy.lock.conftest import Workspace

# Resolves a version in each test.
pytestmark = pytest.mark.slow


def _versions(lock: Lock) -> dict[str, str]:
    return {item.name: item.version for item in lock.python.distributions}


def test_twice_gives_identical_bytes(workspace: Workspace) -> None:
    first = workspace.resolve()
    assert first.to_bytes() == workspace.resolve().to_bytes()
    assert first.to_bytes() == workspace.resolve(first).to_bytes()


def test_only_what_is_fetched_is_called_so(workspace: Workspace) -> None:
    lock = workspace.resolve()
    assert [line for line in workspace.said if line.startswith("Fetching the core at tree:")]
    assert [line for line in workspace.said if line.startswith("Fetching painter at tree:")]
    workspace.said.clear()
    workspace.resolve(lock)
    assert not [line for line in workspace.said if "Fetching" in line]


def test_the_lock_names_no_index_of_the_machine(workspace: Workspace) -> None:
    text = workspace.resolve().to_bytes().decode()
    assert "127.0.0.1" not in text
    assert str(workspace.folder) not in text


def test_every_distribution_has_its_hash_and_who_asked_for_it(
    workspace: Workspace, index: Path
) -> None:
    workspace.write("painter/requirements.txt", "# palette\nalpha>=1\n")
    lock = workspace.resolve()
    alpha, gamma = lock.python.wheels
    wheel = index / "files" / "alpha-2.0-py3-none-any.whl"
    assert [file.sha256 for file in alpha.files] == [hashlib.sha256(wheel.read_bytes()).hexdigest()]
    assert alpha.requested_by == {"core": ["alpha"], "node:painter": ["alpha>=1"]}
    assert gamma.requested_by == {}
    assert gamma.required_by == ["alpha"]


def test_a_lock_of_an_earlier_program_gets_its_cuda_though_no_index_is_asked(
    workspace: Workspace, index: Path
) -> None:
    make_wheel(index / "files", "torch", "2.11.0", requires=["cuda-toolkit==13.0.2"])
    make_wheel(index / "files", "cuda-toolkit", "13.0.2")
    write_index(index)
    workspace.write("core/requirements.txt", "torch\n")
    lock = workspace.resolve()
    assert lock.python.cuda == "13.0"
    earlier = lock.model_copy(update={"python": lock.python.model_copy(update={"cuda": None})})
    shutil.rmtree(index / "simple")
    assert workspace.resolve(earlier).python.cuda == "13.0"


def test_a_pin_is_kept_when_a_newer_release_appears(workspace: Workspace, index: Path) -> None:
    first = workspace.resolve()
    make_wheel(index / "files", "alpha", "3.0", requires=["gamma"])
    write_index(index)
    again = workspace.resolve(first, elsewhere=True)
    assert again.to_bytes() == first.to_bytes()
    assert _versions(workspace.resolve())["alpha"] == "3.0"


def test_a_wheel_uploaded_later_for_an_old_release_changes_nothing(
    workspace: Workspace, index: Path
) -> None:
    first = workspace.resolve()
    make_wheel(index / "files", "gamma", "1.0", tag="cp311-abi3-manylinux_2_17_x86_64")
    write_index(index)
    again = workspace.resolve(first, elsewhere=True)
    assert again.to_bytes() == first.to_bytes()
    assert workspace.resolve().to_bytes() != first.to_bytes()


def test_a_distribution_for_one_platform_keeps_a_brief_marker(workspace: Workspace) -> None:
    workspace.document["options"] = {"platforms": ["linux-x86_64", "macos-arm64"]}
    workspace.write(
        "core/requirements.txt",
        "alpha\nlinux-only; platform_system == 'Linux'\nnever; os_name=='nt'\n",
    )
    lock = workspace.resolve()
    markers = {item.name: item.marker for item in lock.python.wheels}
    assert markers == {
        "alpha": None,
        "gamma": None,
        "linux-only": "sys_platform == 'linux' and platform_machine == 'x86_64'",
    }


def test_the_torch_family_can_come_from_an_index_of_its_own(
    workspace: Workspace, index: Path, tmp_path: Path
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
    lock = workspace.resolve()
    assert _versions(lock)["torch"] == "2.11.0+cpu"
    assert _versions(lock)["alpha"] == "2.0"
    assert lock.python.torch_index == url


def test_a_core_that_imports_requests_without_listing_it_gets_it(
    workspace: Workspace, index: Path
) -> None:
    make_wheel(index / "files", "requests", "2.32.0")
    write_index(index)
    workspace.write("core/app/frontend_management.py", "import requests\n")
    lock = workspace.resolve()
    (requests,) = (item for item in lock.python.wheels if item.name == "requests")
    assert requests.requested_by == {"core": ["requests"]}


@pytest.mark.parametrize("name", ["main.py", "folder_paths.py"])
def test_a_tree_that_is_not_comfyui_is_refused(workspace: Workspace, name: str) -> None:
    (workspace.folder / "core" / name).unlink()
    with pytest.raises(InvalidInputError, match=f"not ComfyUI: it has no {name}"):
        workspace.resolve()


def test_an_index_that_does_not_answer_is_unavailable(
    workspace: Workspace, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(UnavailableError, match="index"):
        workspace.resolve()


def test_models_are_pinned_by_hash_and_size(workspace: Workspace) -> None:
    workspace.write("models/tiny.safetensors", "weights")
    workspace.document["models"] = [
        {
            "name": "tiny.safetensors",
            "source": "models/tiny.safetensors",
            "target_subdir": "upscale_models",
        }
    ]
    (model,) = workspace.resolve().models
    assert model.sha256 == hashlib.sha256(b"weights").hexdigest()
    assert (model.size, model.format) == (7, "safetensors")
    assert model.target_path == "upscale_models/tiny.safetensors"


def test_missing_model_files_are_all_named(workspace: Workspace) -> None:
    workspace.document["models"] = [
        {"name": name, "source": f"models/{name}", "target_subdir": "vae"} for name in ("a", "b")
    ]
    with pytest.raises(UnavailableError, match="(?s)model a: there is no .*model b: there is no "):
        workspace.resolve()


def test_a_model_with_another_checksum_is_refused(workspace: Workspace) -> None:
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
        workspace.resolve()


def test_what_is_wrong_with_models_and_python_is_found_before_solving(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    source = workspace.write("models/tiny", "weights").as_uri()
    model = {"source": source, "target_subdir": "vae", "checksum": "sha256:" + "0" * 64}
    workspace.document["models"] = [model | {"name": "one"}, model | {"name": "two"}]
    with pytest.raises(MismatchError, match="(?s)2 faults:.*model one.*model two"):
        workspace.resolve()
    workspace.document["options"] = {"python": "3.99"}
    with pytest.raises(InvalidInputError, match="there is no Python 3.99"):
        workspace.resolve()


def test_lock_path_is_expanded(
    workspace: Workspace,
    fetch_context: FetchContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lock = workspace.resolve()
    (tmp_path / "mine.lock.json").write_bytes(lock.to_bytes())
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOCK_PATH", "~/mine.lock.json")
    loaded = load_spec(workspace.save())
    expected = (lock, tmp_path / "mine.lock.json")
    assert find_lock(loaded, fetch_context.cache) == expected
    assert last_lock(loaded, fetch_context.cache) == expected


def test_a_written_lock_is_found_again_until_the_spec_changes(
    workspace: Workspace, fetch_context: FetchContext
) -> None:
    lock = workspace.resolve()
    written = write_lock(lock, spec_path=workspace.spec_path, cache=fetch_context.cache)
    assert [load_lock(path) for path in written] == [lock, lock]
    assert written[0] == workspace.folder.parent / "lockfiles" / "comfy-small.lock.json"

    def find() -> tuple[Lock, Path] | None:
        return find_lock(load_spec(workspace.save()), fetch_context.cache)

    assert find() == (lock, written[0])
    workspace.document["env"] = {"A": "b"}
    assert find() is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"lock_version": 3}', '{"lock_version": 2}'])
def test_a_broken_lock_is_refused_with_its_path(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.lock.json"
    path.write_text(content)
    with pytest.raises(InvalidInputError, match="broken.lock.json"):
        load_lock(path)


def test_a_listed_node_without_a_script_is_named_when_it_is_resolved(workspace: Workspace) -> None:
    workspace.document["options"] = {"run_install_scripts": ["painter"]}
    with pytest.raises(InvalidInputError, match="names 'painter', but that node has no install.py"):
        workspace.resolve()
    workspace.write("painter/install.py", "")
    assert workspace.resolve().run_install_scripts == ["painter"]


def test_edited_code_asks_no_index_and_edited_requirements_do(
    workspace: Workspace, index: Path
) -> None:
    workspace.write("painter/requirements.txt", "alpha>=1\n")
    first = workspace.resolve()
    make_wheel(index / "files", "delta", "1.0")
    make_wheel(index / "files", "alpha", "3.0", requires=["gamma"])
    write_index(index)
    pages = (index / "simple").rename(index / "away")
    workspace.write("painter/__init__.py", "# edited\n")
    edited = workspace.resolve(first)
    assert edited.custom_nodes[0].tree_hash != first.custom_nodes[0].tree_hash
    assert edited.python == first.python
    pages.rename(index / "simple")
    workspace.write("painter/requirements.txt", "alpha>=1\ndelta\n")
    assert _versions(workspace.resolve(edited)) == {**_versions(first), "delta": "1.0"}


def test_a_node_that_comfyui_does_not_import_is_reported_with_its_parts(
    workspace: Workspace,
) -> None:
    (workspace.folder / "painter/__init__.py").unlink()
    workspace.write("painter/brush.py", "NODE_CLASS_MAPPINGS = {}\n")
    workspace.write("painter/install.py", "")
    workspace.write("painter/nodes/__init__.py", "NODE_CLASS_MAPPINGS = {}\n")
    workspace.resolve()
    assert workspace.warnings == [
        "Warning: node painter has no __init__.py, without which ComfyUI does not import it. "
        "Set its 'subdir' to the one to import: nodes, brush.py."
    ]
    workspace.said.clear()
    workspace.document["custom_nodes"][0]["subdir"] = "brush.py"
    workspace.resolve()
    assert workspace.warnings == []


def test_everything_that_is_wrong_with_the_trees_is_reported_at_once(workspace: Workspace) -> None:
    workspace.document["custom_nodes"] = [
        {"name": "first", "repo": "gone"},
        {"name": "second", "repo": "core/requirements.txt"},
    ]
    workspace.document["models"] = [{"name": "a.gguf", "source": "a.gguf", "target_subdir": "x"}]
    with pytest.raises(InvalidInputError, match="^there are 3 faults:") as caught:
        workspace.resolve()
    first, second, model = caught.value.message.splitlines()[1:]
    assert first.startswith("  node first: the folder gone does not exist")
    assert second.startswith("  node second: ")
    assert model.startswith("  model a.gguf: there is no file")


def test_a_lock_says_whether_the_environment_is_writable_only_if_it_is(
    workspace: Workspace,
) -> None:
    lock = workspace.resolve()
    assert b"writable_environment" not in lock.to_bytes()
    workspace.document["options"] = {"writable_environment": True}
    writable = workspace.resolve(lock)
    assert b'"writable_environment": true' in writable.to_bytes()
    assert writable.digest != lock.digest


def test_an_option_that_the_core_does_not_know_is_refused(workspace: Workspace) -> None:
    workspace.document["options"] = {"comfy_args": ["--CPU", "--cpu", "--preview=1", "--frob"]}
    workspace.resolve()
    workspace.write(
        "core/comfy/cli_args.py",
        'add_argument("--cpu", help="Use the CPU.")\nadd_argument("--preview-method")\n',
    )
    with pytest.raises(InvalidInputError, match="has --CPU and --frob, which this") as caught:
        workspace.resolve()
    assert "--CPU is probably --cpu" in caught.value.remedy
