"""A bundle is enough for an image: no index, and no network in the steps of its build."""

from __future__ import annotations

from pathlib import Path

from tests.containers import run_to_end
from tests.docker.small_version import SmallVersions
from tests.docker.test_container import EXAMPLE, picture
from tests.program import Program

TAG = "runpod-comfy-test:bundled"
_NOWHERE = "http://127.0.0.1:9/simple/"


def test_an_image_is_built_from_a_bundle_without_a_network(
    versions: SmallVersions, base_image: str, tmp_path: Path
) -> None:
    bundle = tmp_path / "small.bundle"
    created = versions.program("bundle", "create", "small", "--output", bundle)
    assert created.code == 0, created.err
    work = tmp_path / "work"
    for folder in ("versions", "workflows"):
        (work / folder).mkdir(parents=True)
    example = "workflows/example.json"
    (work / example).write_bytes((versions.program.folder / example).read_bytes())
    variables = {"COMFY_CACHE_ROOT": str(tmp_path / "cache"), "PIP_INDEX_URL": _NOWHERE}
    away = Program(folder=work, variables={**versions.program.variables, **variables})
    build = ("image", "build", "small", "--offline", "--network", "none", "--base", base_image)
    assert "small" in away(*build).failed_with(3)
    loaded = away("bundle", "load", bundle)
    assert loaded.code == 0, loaded.err
    built = away(*build, "--tag", TAG)
    assert built.code == 0, built.err
    assert picture(run_to_end(TAG, EXAMPLE)) == b"a picture"
