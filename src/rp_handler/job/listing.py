"""What a worker has, listed without its engine: workflows, node classes, models."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from comfy_errors import UnavailableError
from comfy_workflows.folder import workflow_files
from rp_handler.home.realized import Home
from rp_handler.job_models.in_place import JobModels

Listed = Literal["nodes", "models", "workflows"]


def listing(
    listed: Listed, home: Home, workflows: Path, job_models: JobModels | None = None
) -> dict[str, Any]:
    """The document with what there is. Models are by the names of their folders, as nodes offer
    them; those that jobs have brought along, `job_models`, are listed apart. Reads files.

    Raises UnavailableError for the nodes of a version that was never checked.
    """
    match listed:
        case "nodes":
            return {"nodes": _node_classes(home)}
        case "models":
            folders = home.model_folders()
            found = {name: folders.listing([name]) for name in sorted(folders.folders)}
            models = {name: files for name, files in found.items() if files}
            return {"models": models, **(job_models.listing() if job_models else {})}
        case "workflows":
            return {"workflows": workflow_names(workflows)}


def workflow_names(folder: Path) -> list[str]:
    """The names of the workflows in `folder`, sorted."""
    return [path.stem for path in workflow_files(folder)]


def _node_classes(home: Home) -> list[dict[str, Any]]:
    recorded = home.recorded_classes
    if recorded is None:
        raise UnavailableError(
            "Which node classes there are is not known: this version was never checked.",
            remedy="Realize it again: its check records them.",
        )
    return [
        {
            "name": name,
            "display_name": facts.get("display_name") or name,
            "category": facts.get("category") or "",
            "module": facts.get("python_module") or "",
        }
        for name, facts in sorted(recorded.items())
        if isinstance(facts, dict)
    ]
