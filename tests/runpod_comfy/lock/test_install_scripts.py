from __future__ import annotations

import pytest

from comfy_errors import InvalidInputError
from runpod_comfy.lock.resolve import resolve
from runpod_comfy.sources.tree import Surroundings
from runpod_comfy.spec.load import load_spec
from tests.runpod_comfy.lock.conftest import Workspace


def test_a_listed_node_without_a_script_is_named_when_it_is_resolved(
    workspace: Workspace, surroundings: Surroundings, index: object
) -> None:
    workspace.document["options"] = {"run_install_scripts": ["painter"]}
    loaded = load_spec(workspace.save())
    with pytest.raises(InvalidInputError, match="names 'painter', and that node has no install.py"):
        resolve(loaded, surroundings=surroundings, previous=None)
    workspace.write("painter/install.py", "")
    lock = resolve(load_spec(workspace.save()), surroundings=surroundings, previous=None)
    assert lock.run_install_scripts == ["painter"]
