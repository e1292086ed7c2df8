from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from comfy_workflows.model_files import ModelFolders
from rp_handler.home.engine_setup import write_model_paths

KNOWN = {"text_encoders": ["text_encoders", "clip"], "vae": ["vae"], "other": ["/else/where"]}


def sections(
    tmp_path: Path, models: Path | None, known: Any, links: Path | None = None, **more: Path
) -> Any:
    folders = ModelFolders(roots=(), folders=known, inputs={})
    write_model_paths(tmp_path / "paths.yaml", models, folders, links=links, **more)
    return yaml.safe_load((tmp_path / "paths.yaml").read_text(encoding="utf-8"))


def test_the_folders_that_the_core_knows_are_named(tmp_path: Path) -> None:
    assert sections(tmp_path, Path("/m"), KNOWN) == {
        "models": {"base_path": "/m", "text_encoders": "text_encoders\nclip", "vae": "vae"}
    }


def test_without_that_knowledge_the_folders_that_are_there_are_named(tmp_path: Path) -> None:
    (tmp_path / "m/loras").mkdir(parents=True)
    told = sections(tmp_path, tmp_path / "m", {})
    assert told["models"] == {"base_path": str(tmp_path / "m"), "loras": "loras"}


def test_links_come_first_and_only_where_there_are_some(tmp_path: Path) -> None:
    links = tmp_path / "links"
    for folder in ("clip", "of_a_node"):
        (links / folder).mkdir(parents=True)
    assert sections(tmp_path, None, KNOWN, links) == {
        "links": {
            "base_path": str(links),
            "is_default": True,
            "of_a_node": "of_a_node",
            "text_encoders": "clip",
        }
    }
    assert set(sections(tmp_path, Path("/m"), KNOWN, links)) == {"models", "links"}


def test_models_of_jobs_come_last(tmp_path: Path) -> None:
    links = tmp_path / "links"
    (links / "vae").mkdir(parents=True)
    told = sections(tmp_path, Path("/m"), KNOWN, links, of_jobs=Path("/jobs"))
    assert list(told) == ["models", "links", "jobs"]
    assert told["jobs"] == {
        "base_path": "/jobs",
        "text_encoders": "text_encoders\nclip",
        "vae": "vae",
    }
