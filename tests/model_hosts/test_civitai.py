"""The double of Civitai keeps to what Civitai publishes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from tests.model_hosts.civitai import TOKEN, CivitaiDouble, CivitaiFile, civitai

_FILE = CivitaiFile(id=7, name="up.safetensors", content=b"weights", primary=True)
_LOGIN = {"Authorization": f"Bearer {TOKEN}"}
_BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0"}


@pytest.fixture
def double() -> Iterator[CivitaiDouble]:
    with civitai() as it:
        it.publish(2, _FILE)
        yield it


def _get(url: str, headers: dict[str, str] | None = None) -> requests.Response:
    return requests.get(url, headers=headers, timeout=10, allow_redirects=False)


def test_the_routes_for_versions_tell_the_same_of_a_file(double: CivitaiDouble) -> None:
    versions = f"{double.url}/api/v1/model-versions"
    version = _get(f"{versions}/2").json()
    (file,) = version["files"]
    assert (file["id"], file["name"], file["sizeKB"] * 1024) == (7, "up.safetensors", 7)
    assert file["hashes"]["SHA256"] == _FILE.sha256.upper()
    mini = _get(f"{versions}/mini/2").json()
    assert (mini["fileName"], mini["hashes"]) == (file["name"], file["hashes"])
    assert mini["downloadUrls"] == [file["downloadUrl"]]
    for digest in file["hashes"].values():
        assert _get(f"{versions}/by-hash/{digest.lower()}").json() == version
    assert _get(f"{versions}/3").status_code == 404


def test_a_file_comes_from_another_port_which_wants_no_token(double: CivitaiDouble) -> None:
    found = _get(f"{double.url}/api/download/models/2?fileId=7", _LOGIN)
    assert found.status_code == 307
    place = found.headers["Location"]
    assert place.startswith(double.storage.url)
    assert _get(place).content == b"weights"
    assert _get(place, {"Range": "bytes=3-4"}).content == b"gh"
    assert _get(place, _LOGIN).status_code == 400
    assert requests.head(place, timeout=10).status_code == 403
    assert _get(place.replace("/7?", "/8?")).status_code == 403
    double.storage.expire()
    assert _get(place).status_code == 403


def test_nobody_downloads_without_a_token(double: CivitaiDouble) -> None:
    place = f"{double.url}/api/download/models/2"
    assert _get(place).status_code == 401
    assert _get(place, {"Authorization": "Bearer other"}).status_code == 401
    # A browser is led to a page.
    page = _get(f"{double.url}{_get(place, _BROWSER).headers['Location']}")
    assert page.headers["Content-Type"] == "text/html"


def test_a_version_that_may_not_be_downloaded_says_why(double: CivitaiDouble) -> None:
    double.publish(4, _FILE, early_access_until="2026-12-24T12:00:00.000Z")
    double.publish(5, _FILE, mode="Archived")
    early = _get(f"{double.url}/api/download/models/4", _LOGIN)
    assert (early.status_code, early.json()["deadline"]) == (403, "2026-12-24T12:00:00.000Z")
    assert _get(f"{double.url}/api/download/models/5", _LOGIN).status_code == 410
    assert _get(f"{double.url}/api/v1/model-versions/5").json()["files"] == []
