"""The differences between two locks, as the page of `--report` shows them."""

from __future__ import annotations

from typing import Any

import pytest

from runpod_comfy.cli.proof.reports import lock_changes
from runpod_comfy.lock.diff import LockChange

COMMIT = "0123456789" * 4


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        (
            LockChange(part="core", name="core", key="commit", before=COMMIT, after=None),
            ("core", "core", "commit", COMMIT, None),
        ),
        (
            LockChange(part="nodes", name="a", after={"ref": "main", "commit": COMMIT}),
            ("node", "a", "", None, "main 012345678901"),
        ),
        (
            LockChange(part="python", name="numpy", key="version", before="1.0", after="2.0"),
            ("package", "numpy", "version", "1.0", "2.0"),
        ),
        (
            LockChange(part="python", name="numpy", key="files", before=["a", "b"], after=["c"]),
            ("package", "numpy", "files", "2 other files", "1 other file"),
        ),
        (
            LockChange(part="models", name="vae/x", key="size", before=1500, after=None),
            ("model", "vae/x", "size", "1.5 kB", None),
        ),
        (
            LockChange(part="models", name="vae/x", key="sources", before=["u", "v"], after=[]),
            ("model", "vae/x", "sources", "u, v", ""),
        ),
        (
            LockChange(part="environment", name="env.A", key="value", before=1, after={"b": [2]}),
            ("setting", "env.A", "", "1", '{"b": [2]}'),
        ),
    ],
)
def test_every_kind_of_change_is_text(change: LockChange, shown: tuple[Any, ...]) -> None:
    (found,) = lock_changes([change])
    assert (found.part, found.name, found.key, found.before, found.after) == shown


def test_who_asks_for_a_package_is_left_out() -> None:
    change = LockChange(part="python", name="numpy", key="required_by", before=["a"], after=["b"])
    assert lock_changes([change]) == []
