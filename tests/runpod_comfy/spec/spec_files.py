"""Specs as files, and what is said of those that are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comfy_errors import InvalidInputError
from runpod_comfy.spec.load import load_spec
from tests.specs import whole_spec

Change = Callable[[dict[str, Any]], object]


def document() -> dict[str, Any]:
    return whole_spec() | {"options": {"torch": {"version": "2.11.0"}}}


def save(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "versions" / "x.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def complaint_of(tmp_path: Path, content: bytes) -> InvalidInputError:
    error = complaints_of(tmp_path, content)
    assert "\n" not in error.message
    return error


def complaints_of(tmp_path: Path, content: bytes) -> InvalidInputError:
    path = save(tmp_path, content)
    with pytest.raises(InvalidInputError) as caught:
        load_spec(path)
    assert str(path) in caught.value.message
    return caught.value


def changed(change: Change) -> bytes:
    spec = document()
    change(spec)
    return json.dumps(spec).encode()
