"""Versions of a project with nothing but models, whose locks are made by hand."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runpod_comfy.lock.store import committed_lock_path
from runpod_comfy.spec.load import load_spec, spec_digest
from tests.locks import bare_lock, model


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """A version in `versions/` of the folder `project`; `models` are as its spec has them."""

    project: Path
    version_id: str = "small"
    models: list[dict[str, Any]] = field(default_factory=list)
    locked: list[dict[str, Any]] = field(default_factory=list)

    def add(self, content: bytes, source: str, target_path: str, **changes: Any) -> None:
        """Adds a model of this content, wherever it is."""
        name = Path(target_path).name
        self.models.append({"name": name, "source": source, "target_path": target_path})
        fields = {
            "name": name,
            "target_path": target_path,
            "sources": [{"url": source}],
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
        }
        self.locked.append(fields | changes)

    def write(self) -> None:
        """Writes the spec and its lock."""
        spec = {
            "schema_version": 2,
            "version_id": self.version_id,
            "comfy": {"repo": "https://example.org/1", "commit": "1" * 40},
            "models": self.models,
        }
        path = self.project / "versions" / f"{self.version_id}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(spec))
        lock = bare_lock(
            version_id=self.version_id,
            spec_digest=spec_digest(load_spec(path).spec),
            models=[model(**each) for each in self.locked],
        )
        place = committed_lock_path(path, self.version_id)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(lock.to_bytes())
