"""Every home that a test realizes is verified at once: `realize --verify` holds after each
successful realize that changed something. Only nodes that were there before are not its matter.

`watch_realize` is called by tests/conftest.py, and by tests/in_processes/sitecustomize.py in the
programs that tests start.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

_REALIZE = "runpod_comfy.homes.run"


def watch_realize() -> None:
    """Verifies homes from now on. Imports nothing of the program by itself."""
    sys.meta_path.insert(0, _WhenImported())


class _WhenImported(MetaPathFinder):
    def find_spec(
        self, name: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _REALIZE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def execute_and_watch(module: ModuleType) -> None:
            execute(module)
            _watch(module)

        vars(spec.loader)["exec_module"] = execute_and_watch
        return spec


def _watch(module: Any) -> None:
    find_changes, result_of = module.find_changes, module.result_of
    added_by_hand: dict[Path, set[Path]] = {}

    def noted_find_changes(job: Any, *arguments: Any) -> Any:
        added_by_hand[job.home.root] = _unmanaged(job)
        return find_changes(job, *arguments)

    def verified_result_of(job: Any, *arguments: Any, **options: Any) -> Any:
        result = result_of(job, *arguments, **options)
        if result.changed:
            _require_verified(job, added_by_hand[job.home.root])
        return result

    module.find_changes, module.result_of = noted_find_changes, verified_result_of


def _unmanaged(job: Any) -> set[Path]:
    from runpod_comfy.homes.home import unmanaged_nodes

    return set(unmanaged_nodes(job.home, {node.name for node in job.lock.custom_nodes}))


def _require_verified(job: Any, added_by_hand: set[Path]) -> None:
    from comfy_files.progress import say_nothing
    from runpod_comfy.homes.verify.home import verify

    found = verify(replace(job, say=say_nothing)).faults
    told = [f"\n  {fault}" for fault in found if fault.path not in added_by_hand]
    assert not told, "realize succeeded, and its home differs from its lock:" + "".join(told)
