from __future__ import annotations

import pytest

from comfy_errors import InvalidInputError
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.lock.resolve import resolve
from runpod_comfy.spec.load import load_spec
from tests.runpod_comfy.lock.conftest import Workspace


def test_a_listed_node_without_a_script_is_named_when_it_is_resolved(
    workspace: Workspace, fetch_context: FetchContext, index: object
) -> None:
    workspace.document["options"] = {"run_install_scripts": ["painter"]}
    loaded = load_spec(workspace.save())
    with pytest.raises(InvalidInputError, match="names 'painter', and that node has no install.py"):
        resolve(loaded, fetch_context=fetch_context, previous=None)
    workspace.write("painter/install.py", "")
    lock = resolve(load_spec(workspace.save()), fetch_context=fetch_context, previous=None)
    assert lock.run_install_scripts == ["painter"]
