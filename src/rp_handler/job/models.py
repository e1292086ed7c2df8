"""The models of a result: every model file that the graph names, with its sha256."""

from __future__ import annotations

from functools import partial
from typing import Any

from comfy_workflows.graph import Graph
from comfy_workflows.used_models import used_models
from rp_handler.home.realized import Home


def models_in_result(graph: Graph, home: Home, *, may_read: bool = False) -> list[dict[str, Any]]:
    """For each model file that `graph` uses, its path below the models folder and its sha256, which
    is None for a file that was never verified, unless it `may_read` it: hashing gigabytes would
    delay the job.

    Empty for a version that was never checked: then it is not known which inputs name models.
    Reads folders.
    """
    if home.recorded_classes is None:
        return []
    folders, sha256_of = home.model_folders(), partial(home.sha256_of_model, may_read=may_read)
    return [
        {"path": folders.below_root(file) or str(file), "sha256": sha256_of(file)}
        for file in used_models(graph, home.recorded_classes, folders)
    ]
