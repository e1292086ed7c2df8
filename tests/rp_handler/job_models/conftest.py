from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfy_home.layout import OBJECT_INFO_NAME
from comfy_home.manifest import CheckReport, Manifest, save_manifest
from rp_handler.home.realized import Home, open_home
from rp_handler.inputs.policy import InputPolicy
from rp_handler.job_models.fetch import ModelFetch
from rp_handler.job_models.kept import KeptModels
from rp_handler.job_models.policy import ModelPolicy

_FOLDERS = {
    "checkpoints": ["checkpoints"],
    "loras": ["loras"],
    "text_encoders": ["text_encoders", "clip"],
    "upscale_models": ["upscale_models"],
    "of_a_node": ["/else/where", "../custom_nodes"],
}
_CLASSES = {
    "FixtureModel": {"input": {"required": {"name": [[], {}]}}, "output_node": True},
}


@pytest.fixture
def opened(home: Path) -> Home:
    """A version whose check knows model folders, and a node that loads upscale models."""
    check = CheckReport(
        comfyui_version="1",
        node_classes={},
        folder_names=_FOLDERS,
        flags=[],
        model_inputs={"FixtureModel": {"name": ["upscale_models"]}},
    )
    save_manifest(home, Manifest(version_id="demo", complete=True, check=check))
    (home / OBJECT_INFO_NAME).write_text(json.dumps(_CLASSES))
    return open_home(home, version_id="demo", id_was_asked=False)


@pytest.fixture
def kept(tmp_path: Path) -> KeptModels:
    return KeptModels(tmp_path / "kept", 10**6)


@pytest.fixture
def fetch(opened: Home, kept: KeptModels, tmp_path: Path) -> ModelFetch:
    """It may read from this machine's own servers."""
    return ModelFetch(
        home=opened,
        kept=kept,
        policy=ModelPolicy(hosts=("127.0.0.1",), limit_bytes=kept.limit_bytes),
        inputs=InputPolicy(silence_s=5, allows_private=True),
        variables={"HOME": str(tmp_path)},
        say=lambda _: None,
    )
