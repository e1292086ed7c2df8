"""The chapter of the user's guide on models, typed as it is printed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.http_server import serve
from tests.model_hosts import civitai, gcs, hub
from tests.model_versions import ModelVersion
from tests.scripts.guide import Shell, make_project

COMMAND = 'python3 scripts/verify_models.py --models-dir "$MODELS_DIR" --verbose'


@dataclass(frozen=True, kw_only=True)
class Guide(Shell):
    """A shell in the folder of a project with the version `demo`."""

    version: ModelVersion

    @property
    def models(self) -> Path:
        return Path(self.environment["MODELS_DIR"])

    @property
    def cache(self) -> Path:
        return Path(self.environment["COMFY_CACHE_ROOT"])


@pytest.fixture
def guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Guide:
    project = tmp_path / "small project"
    make_project(project)
    for name in ("COMFY_HOME", "COMFY_CACHE_MODELS", "COMFY_VERSION_NAME", "LOCK_PATH"):
        monkeypatch.delenv(name, raising=False)
    environment = {
        "MODELS_DIR": str(tmp_path / "models of mine"),
        "COMFY_CACHE_ROOT": str(tmp_path / "cache"),
        "HOME": str(tmp_path),
    }
    version = ModelVersion(project=project, version_id="demo")
    return Guide(folder=project, version=version, environment=environment)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a.dat").write_bytes(b"on the web")
    with serve(tmp_path / "web") as url:
        yield url


@pytest.fixture
def one_model(guide: Guide, web: str) -> Guide:
    guide.version.add(b"on the web", f"{web}/a.dat", "vae/a.dat")
    guide.version.write()
    return guide


def stored(store: Path, content: bytes) -> Path:
    sha256 = hashlib.sha256(content).hexdigest()
    return store / "sha256" / sha256[:2] / sha256


def test_the_command_uses_the_one_cache_of_models_and_needs_no_lock_on_the_command_line(
    one_model: Guide, tmp_path: Path
) -> None:
    code, out, err = one_model.type(COMMAND)
    assert (code, "downloaded  vae/a.dat" in out) == (0, True), err
    assert (one_model.models / "vae/a.dat").read_bytes() == b"on the web"
    assert stored(one_model.cache / "models", b"on the web").is_file()
    one_model.environment["COMFY_CACHE_MODELS"] = str(tmp_path / "another store")
    (one_model.models / "vae/a.dat").unlink()
    assert one_model.type(COMMAND)[0] == 0
    assert stored(tmp_path / "another store", b"on the web").is_file()


def test_a_model_whose_checksum_differs_is_downloaded_again_and_linked(one_model: Guide) -> None:
    assert one_model.type(COMMAND)[0] == 0
    copy = stored(one_model.cache / "models", b"on the web")
    copy.chmod(0o644)
    copy.write_bytes(b"ON THE WEB")
    code, out, err = one_model.type(COMMAND)
    assert (code, "downloaded  vae/a.dat" in out) == (0, True), err
    assert (one_model.models / "vae/a.dat").is_symlink()
    assert (one_model.models / "vae/a.dat").read_bytes() == b"on the web"


def test_the_models_folder_is_that_of_comfy_home_by_default(
    one_model: Guide, tmp_path: Path
) -> None:
    del one_model.environment["MODELS_DIR"]
    one_model.environment["COMFY_HOME"] = str(tmp_path / "home")
    assert one_model.type("python3 scripts/verify_models.py")[0] == 0
    assert (tmp_path / "home/models/vae/a.dat").read_bytes() == b"on the web"


def test_overwrite_replaces_a_file_whose_checksum_differs(one_model: Guide) -> None:
    place = one_model.models / "vae/a.dat"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"by a person")
    code, out, _ = one_model.type(COMMAND)
    assert (code, "wrong  vae/a.dat" in out) == (4, True)
    assert place.read_bytes() == b"by a person"
    assert one_model.type(f"{COMMAND} --overwrite")[0] == 0
    assert place.read_bytes() == b"on the web"


def test_timeout_is_120_seconds_by_default(one_model: Guide) -> None:
    code, out, _ = one_model.type("python3 scripts/verify_models.py --help")
    assert (code, "--timeout" in out, "120" in out) == (0, True, True)
    assert one_model.type(f"{COMMAND} --timeout 5")[0] == 0


def test_verbose_says_more(one_model: Guide) -> None:
    quiet = one_model.type('python3 scripts/verify_models.py --models-dir "$MODELS_DIR"')[2]
    verbose = one_model.type(COMMAND)[2]
    sha256 = f"sha256:{hashlib.sha256(b'on the web').hexdigest()}"
    assert (sha256 in quiet, sha256 in verbose) == (False, True)


def test_all_kinds_of_sources_are_supported(guide: Guide, web: str, tmp_path: Path) -> None:
    (tmp_path / "f.dat").write_bytes(b"by its path")
    (guide.folder / "versions" / "models").mkdir(parents=True)
    (guide.folder / "versions" / "models" / "r.dat").write_bytes(b"beside the spec")
    with (
        hub.hub() as hugging_face,
        civitai.civitai() as its_site,
        gcs.gcs(tmp_path / "objects") as google,
    ):
        google.bucket("models", "private")
        google.put("models", "folder/g.dat", b"in a bucket")
        hugging_face.publish("acme/up", {"h.dat": b"on the Hub"}, access="private")
        its_site.publish(
            7, civitai.CivitaiFile(id=1, name="c.dat", content=b"on Civitai", primary=True)
        )
        guide.environment.update(
            HF_ENDPOINT=hugging_face.url,
            HF_TOKEN=hub.TOKEN,
            CIVITAI_ENDPOINT=its_site.url,
            CIVITAI_TOKEN=civitai.TOKEN,
            STORAGE_EMULATOR_HOST=google.url,
            GOOGLE_APPLICATION_CREDENTIALS=str(google.key_file()),
        )
        add = guide.version.add
        add(b"on the web", f"{web}/a.dat", "vae/web.dat")
        add(b"by its path", (tmp_path / "f.dat").as_uri(), "vae/file.dat")
        add(b"beside the spec", "models/r.dat", "vae/relative.dat")
        add(b"in a bucket", "gs://models/folder/g.dat", "vae/gs.dat")
        add(b"on the Hub", "hf://acme/up/h.dat", "vae/hf.dat")
        add(b"on the Hub", "huggingface://acme/up/h.dat", "vae/huggingface.dat")
        add(b"on Civitai", "civitai://7", "vae/civitai.dat")
        guide.version.write()
        code, out, err = guide.type(COMMAND)
        assert code == 0, err
        assert out.count("downloaded") == len(guide.version.models)
        for token in (hub.TOKEN, civitai.TOKEN):
            assert token not in out + err
        for variable in ("HF_TOKEN", "CIVITAI_TOKEN"):
            del guide.environment[variable]
        guide.environment["COMFY_CACHE_ROOT"] = str(tmp_path / "empty")
        guide.environment["MODELS_DIR"] = str(tmp_path / "none")
        code, out, err = guide.type(COMMAND)
    assert code == 4
    assert "HF_TOKEN" in err
    assert "CIVITAI_TOKEN" in err
    assert not list((tmp_path / "empty").rglob("*.partial"))


def test_json_gives_the_same_to_programs(one_model: Guide) -> None:
    code, out, _ = one_model.type(f"{COMMAND} --json")
    assert (code, json.loads(out)["counts"]["downloaded"]) == (0, 1)
