"""`verify_models` of the Python API."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_errors import InvalidInputError
from runpod_comfy import verify_models
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.roots import read_roots
from tests.model_versions import ModelVersion


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelVersion:
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "cache"))
    for name in ("MODELS_DIR", "COMFY_HOME", "COMFY_VERSION_NAME", "LOCK_PATH"):
        monkeypatch.delenv(name, raising=False)
    version = ModelVersion(project=tmp_path / "project")
    version.add(b"weights", "a.dat", "vae/a.dat")
    version.write()
    (version.project / "versions" / "a.dat").write_bytes(b"weights")
    return version


def test_it_prints_nothing_and_says_what_is_true(
    small: ModelVersion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "models"
    found = verify_models("small", models_dir=models, project=small.project)
    (model,) = found.models
    assert (found.holds, found.error) == (True, None)
    assert (model.state, model.path) == ("downloaded", tmp_path / "models/vae/a.dat")
    assert (model.name, model.versions, model.linked) == ("a.dat", ("small",), True)
    again = verify_models("small", models_dir=models, project=small.project)
    assert [model.state for model in again.models] == ["present"]
    roots = read_roots(Cache.from_environment())
    assert [root.path for root in roots if root.kind == "models"] == [models]
    assert capsys.readouterr() == ("", "")


def test_what_does_not_hold_is_told_and_not_raised(small: ModelVersion, tmp_path: Path) -> None:
    (small.project / "versions" / "a.dat").unlink()
    cache = Cache.from_environment()
    found = verify_models("small", models_dir=tmp_path / "models", project=small.project)
    assert not found.holds
    assert found.error is not None
    assert "a.dat" in found.error.message
    assert found.models[0].state == "missing"
    # `gc` is not to miss a folder that never was.
    assert "models" not in {root.kind for root in read_roots(cache)}


def test_a_wrong_argument_is_named(small: ModelVersion) -> None:
    with pytest.raises(InvalidInputError, match="verify_models, argument rehash"):
        verify_models("small", rehash="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize("timeout_s", [0, -1.0, float("inf"), float("nan")])
def test_a_timeout_has_to_be_a_time(small: ModelVersion, timeout_s: float) -> None:
    with pytest.raises(InvalidInputError, match="verify_models, argument timeout_s: must be"):
        verify_models("small", timeout_s=timeout_s)
