"""The double of the Hub, through the Hub's own client."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import errors

from tests.model_hosts.hub import OUTSIDER, TOKEN, HubDouble, hub

_WEIGHTS = bytes(range(256)) * 4000
_CONFIG = json.dumps({"layers": 4}).encode()


@pytest.fixture
def double() -> Iterator[HubDouble]:
    with hub() as it:
        it.publish("acme/up", {"x2/model.safetensors": _WEIGHTS, "config.json": _CONFIG})
        yield it


def _download(
    double: HubDouble,
    cache: Path,
    file: str = "x2/model.safetensors",
    *,
    repo: str = "acme/up",
    revision: str = "main",
    token: str | None = None,
) -> Path:
    path = huggingface_hub.hf_hub_download(
        repo, file, revision=revision, endpoint=double.url, cache_dir=cache, token=token or False
    )
    return Path(path)


def _tree(double: HubDouble, repo: str, folder: str = "") -> list[str]:
    api = huggingface_hub.HfApi(endpoint=double.url, token=False)
    return [it.path for it in api.list_repo_tree(repo, folder, recursive=True)]


def test_files_of_both_kinds_are_downloaded(double: HubDouble, tmp_path: Path) -> None:
    weights = _download(double, tmp_path, token=TOKEN)
    assert weights.read_bytes() == _WEIGHTS
    # The name of the file in the client's cache is the entity tag.
    assert weights.resolve().name == hashlib.sha256(_WEIGHTS).hexdigest()
    assert _download(double, tmp_path, "config.json").read_bytes() == _CONFIG
    assert double.storage.asked
    assert not any(it.headers["Authorization"] for it in double.storage.asked)


@pytest.mark.parametrize(
    ("file", "repo", "revision", "error"),
    [
        ("other.safetensors", "acme/up", "main", errors.RemoteEntryNotFoundError),
        ("config.json", "acme/up", "v9", errors.RevisionNotFoundError),
        ("config.json", "acme/gone", "main", errors.RepositoryNotFoundError),
    ],
)
def test_what_does_not_exist_is_said_in_the_hubs_words(
    double: HubDouble, tmp_path: Path, file: str, repo: str, revision: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        _download(double, tmp_path, file, repo=repo, revision=revision)


@pytest.mark.parametrize("token", [None, OUTSIDER])
def test_gated_and_private_repositories_want_a_token_with_access(
    double: HubDouble, tmp_path: Path, token: str | None
) -> None:
    double.publish("acme/gated", {"a.safetensors": _WEIGHTS}, access="gated")
    double.publish("acme/private", {"a.safetensors": _WEIGHTS}, access="private")
    with pytest.raises(errors.GatedRepoError):
        _download(double, tmp_path, "a.safetensors", repo="acme/gated", token=token)
    with pytest.raises(errors.RepositoryNotFoundError):
        _download(double, tmp_path, "a.safetensors", repo="acme/private", token=token)
    for repo in ("acme/gated", "acme/private"):
        path = _download(double, tmp_path, "a.safetensors", repo=repo, token=TOKEN)
        assert path.read_bytes() == _WEIGHTS


def test_a_renamed_repository_is_still_found(double: HubDouble, tmp_path: Path) -> None:
    double.moved["old/name"] = "acme/up"
    assert _download(double, tmp_path, repo="old/name").read_bytes() == _WEIGHTS


def test_a_tree_is_listed_page_by_page(double: HubDouble) -> None:
    double.page_size = 2
    files = {f"part/{number}.safetensors": b"%d" % number for number in range(5)}
    commit = double.publish("acme/many", {**files, "a.txt": b"text"})
    api = huggingface_hub.HfApi(endpoint=double.url, token=False)
    assert api.model_info("acme/many", revision="main").sha == commit
    assert _tree(double, "acme/many", "part") == list(files)
    assert sum("/tree/" in it.path for it in double.asked) == 3


def test_the_client_waits_for_the_end_of_a_window(double: HubDouble) -> None:
    double.allowed["api"], double.window_s = 1, 0.5
    for _ in range(2):
        assert _tree(double, "acme/up") == ["config.json", "x2", "x2/model.safetensors"]
    assert len(double.asked) == 3
