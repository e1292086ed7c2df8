"""The digest of a spec: which lock answers it.

The projection is written by hand and leaves out what is not set, so that a new optional field
changes no digest of a spec that does not use it.
"""

from __future__ import annotations

import json
from typing import Any

from comfy_files.hashing import digest_of
from runpod_comfy.spec.model import Model, Options, Spec, Tree

SCHEMA_TAG = "runpod-comfy/spec-digest/1"


def spec_digest(spec: Spec) -> str:
    """`sha256:…` over everything in the spec that decides what its lock holds."""
    projection = {
        "schema": SCHEMA_TAG,
        "version_id": spec.version_id,
        "comfy": _tree(spec.comfy),
        "custom_nodes": [{"name": node.name, **_tree(node)} for node in spec.custom_nodes],
        "models": [_model(model) for model in spec.models],
        "env": dict(spec.env),
        "options": _options(spec.options),
    }
    text = json.dumps(projection, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return digest_of(text.encode())


def _only_set(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, [], {})}


def _tree(tree: Tree) -> dict[str, Any]:
    return _only_set(repo=tree.repo, ref=tree.ref, commit=tree.commit, subdir=tree.subdir)


def _model(model: Model) -> dict[str, Any]:
    return _only_set(
        name=model.name,
        source=model.source,
        target_subdir=model.target_subdir,
        target_path=model.target_path,
        checksum=model.checksum,
        mirrors=model.mirrors,
        size=model.size,
    )


def _options(options: Options) -> dict[str, Any]:
    return _only_set(
        python=options.python,
        base=options.base,
        torch=_only_set(version=options.torch.version, index=options.torch.index),
        constraints=options.constraints,
        overrides=options.overrides,
        system_packages=options.system_packages,
        comfy_args=options.comfy_args,
        run_install_scripts=options.run_install_scripts,
        allow_pickle=options.allow_pickle,
        user=options.user,
        platforms=list(options.platforms),
        as_of=options.as_of,
    )
