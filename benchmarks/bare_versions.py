"""Versions of a stand-in for ComfyUI without packages, so that their items are what is seen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.ours import Ours

_CORE = Path(__file__).resolve().parents[1] / "tests" / "bare_core"

Item = Mapping[str, object]


class BareVersions:
    """Writes specs below a new folder; `ours` has the cache and the workspace for them."""

    def __init__(self, folder: Path) -> None:
        self._core = folder / "core"
        self._count = 0
        self.ours = Ours(workspace=folder / "workspace", cache=folder / "cache")
        (self.ours.workspace / "versions").mkdir(parents=True)
        shutil.copytree(_CORE, self._core, ignore=shutil.ignore_patterns("BUILD", "__pycache__"))

    def write(self, *, nodes: Iterable[Item] = (), models: Iterable[Item] = ()) -> str:
        """The id of a new version, which is not resolved yet."""
        self._count += 1
        version = f"bare-{self._count}"
        spec = {
            "schema_version": 2,
            "version_id": version,
            "comfy": {"repo": str(self._core)},
            "custom_nodes": list(nodes),
            "models": list(models),
        }
        path = self.ours.workspace / "versions" / f"{version}.json"
        path.write_text(json.dumps(spec))
        return version
