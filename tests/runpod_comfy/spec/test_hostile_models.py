"""Models of specs that somebody wrote to do harm: valid and inside, or refused in words."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from comfy_errors import ComfyError
from comfy_files.progress import say_nothing
from comfy_models.verify import HashMemory
from runpod_comfy.spec.asked import LocalModels, read_models, with_checksums
from runpod_comfy.spec.document import Folders
from runpod_comfy.spec.load import parse_spec, spec_digest
from runpod_comfy.spec.model import Model
from runpod_comfy.spec.write import spec_text
from tests.hostile_texts import addresses, hostile, texts, values
from tests.specs import whole_spec

_ROOT = Path("/models")
_FIELDS = {
    "name": texts,
    "source": addresses,
    "target_node": st.one_of(st.just("first"), texts),
    "target_subdir": texts,
    "target_path": texts,
    "checksum": st.one_of(texts, st.just("sha256:" + "a" * 64)),
    "mirrors": st.lists(addresses, max_size=2),
    "size": st.integers(),
}
_GOOD = {"name": "a.bin", "source": "hf://o/n/a.bin", "target_subdir": "vae"}
_BAD_FIELDS = [st.tuples(st.just(key), field) for key, field in _FIELDS.items()]
_OF_BAD_TYPES = st.tuples(st.sampled_from([*_FIELDS, "\x1b[31m"]), values)
# Few fields are bad, so that nothing else refuses the model.
models = st.lists(st.one_of(*_BAD_FIELDS, _OF_BAD_TYPES), min_size=1, max_size=3).map(
    lambda bad: {**_GOOD, **dict(bad)}
)


def _assert_inside(model: Model) -> None:
    place = os.path.normpath(_ROOT / model.place)
    assert Path(place).is_relative_to(_ROOT)
    assert place != str(_ROOT)
    assert not any(ord(character) < 32 for character in model.place)
    assert all(len(part.encode()) <= 255 for part in Path(place).parts)


def _assert_is_error(error: ComfyError) -> None:
    assert error.exit_code in (2, 3, 4)
    assert error.message
    assert "secret-1" not in error.in_words()
    error.in_words().encode()
    assert "\x1b" not in error.in_words()


@hostile(500)
@given(models)
def test_a_model_of_a_spec_is_inside_or_refused(entry: dict[str, Any]) -> None:
    text = json.dumps({**whole_spec(), "models": [entry]})
    try:
        spec = parse_spec(text, where="a spec")
    except ComfyError as error:
        _assert_is_error(error)
        return
    for model in spec.models:
        _assert_inside(model)
    assert spec_digest(spec).startswith("sha256:")
    assert parse_spec(spec_text(spec), where="it") == spec


@hostile(500)
@given(st.one_of(models.map(json.dumps), addresses))
def test_a_model_of_an_argument_is_inside_or_refused(text: str) -> None:
    folders = Folders(working=Path("/nowhere/w"), spec=Path("/nowhere/v"))
    memory = HashMemory(())
    local = LocalModels(root=None, auto_checksum=True, memory=memory, say=say_nothing)
    with contextlib.suppress(ComfyError):
        try:
            read = with_checksums(read_models(text, folders, local), local)
        except ComfyError as error:
            _assert_is_error(error)
            raise
        for model in read:
            _assert_inside(model)
