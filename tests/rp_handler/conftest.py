from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from comfy_home.manifest import Manifest, save_manifest
from rp_handler.engine.command import EngineSetup
from tests.program import our_modules, write_program
from tests.specs import FIXTURE_CORE


@pytest.fixture(autouse=True)
def _own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("COMFY_", "RUNPOD_", "HF_", "GCS_", "GOOGLE_", "BUCKET_", "AWS_")):
            monkeypatch.delenv(name)
    for name in ("MODELS_DIR", "LOCK_PATH", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    # The default of the handler needs a bucket.
    monkeypatch.setenv("OUTPUT_MODE", "files")
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", str(scratch))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A realized version `demo` whose core is the fixture core."""
    home = tmp_path / "home"
    core = home / "ComfyUI"
    core.mkdir(parents=True)
    for source in FIXTURE_CORE.glob("*.py"):
        shutil.copy(source, core)
    for folder in ("custom_nodes", "models"):
        (core / folder).mkdir()
    for folder in ("models/upscale_models", "input", "output", "user", ".venv/bin"):
        (home / folder).mkdir(parents=True)
    # Our own interpreter and packages, which the fixture core runs with.
    packages = our_modules()["PYTHONPATH"]
    write_program(
        home / ".venv/bin/python",
        f'PYTHONPATH="${{PYTHONPATH:+$PYTHONPATH:}}{packages}" exec "{sys.executable}" "$@"\n',
    )
    (core / "extra_model_paths.yaml").write_text(
        f"models:\n  base_path: {home}/models\n  upscale_models: upscale_models\n",
        encoding="utf-8",
    )
    save_manifest(
        home,
        Manifest(version_id="demo", lock_digest="sha256:" + "0" * 64, complete=True),
    )
    return home


@pytest.fixture
def setup_of(home: Path) -> EngineSetup:
    """How the engine of `home` is started for one run."""
    return EngineSetup(
        core=home / "ComfyUI",
        python=home / ".venv/bin/python",
        variables={},
        flags=frozenset(),
        input_folder=home / "input",
        output_folder=None,
        user_folder=home / "user",
    )
