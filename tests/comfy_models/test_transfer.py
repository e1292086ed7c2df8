from __future__ import annotations

from pathlib import Path

import pytest

from comfy_errors import InvalidInputError
from comfy_models.transfer import local_source

BASE = Path("/specs")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("models/a.bin", "/specs/models/a.bin"),
        ("/data/a.bin", "/data/a.bin"),
        ("file:///data/a%20b.bin", "/data/a b.bin"),
        ("file://localhost/data/a.bin", "/data/a.bin"),
        ("file:models/a.bin", "/specs/models/a.bin"),
    ],
)
def test_files_of_this_machine_are_found_from_the_folder_of_the_spec(
    source: str, expected: str
) -> None:
    assert local_source(source, BASE) == Path(expected)


@pytest.mark.parametrize("scheme", ["hf", "civitai", "gs", "https"])
def test_a_source_without_a_transfer_is_refused_by_its_kind(scheme: str) -> None:
    with pytest.raises(InvalidInputError, match=f"'{scheme}' are not supported yet"):
        local_source(f"{scheme}://some/model.bin", BASE)


def test_a_file_url_with_a_machine_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="of the machine server"):
        local_source("file://server/a.bin", BASE)
