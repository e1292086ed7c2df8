"""What people read of the differences between two locks."""

from __future__ import annotations

from runpod_comfy.cli.show.lock_changes import change_lines
from runpod_comfy.lock.diff import compare_locks
from runpod_comfy.lock.model import Lock
from tests.locks import bare_lock, model


def test_pins_of_models_are_shown_part_by_part() -> None:
    def lock(commit: str, **pin: object) -> Lock:
        sources = [{"url": "hf://o/n/x", "pin": {"commit": commit * 40, **pin}}]
        return bare_lock(models=[model("vae/x", sources=sources)])

    changes = compare_locks(lock("a"), lock("b", etag="new"))
    assert change_lines(changes) == [
        "models",
        f"  ~ vae/x pin of hf://o/n/x: commit {'a' * 12} → {'b' * 12}, etag none → new",
    ]


def test_a_new_model_is_shown_with_its_preferred_source() -> None:
    sources = [{"url": "hf://o/n/x"}, {"url": "https://h/x"}]
    with_model = bare_lock(models=[model("vae/x", sources=sources)])
    assert change_lines(compare_locks(bare_lock(), with_model)) == [
        "models",
        "  + vae/x hf://o/n/x",
    ]
