"""The rows of the model benchmarks, from what was measured, and the files that they are made of."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from safetensors import safe_open

from benchmarks.model_download import memory_row
from benchmarks.model_files import write_model
from benchmarks.model_proof import cold_row
from benchmarks.samples import Samples


def test_a_model_is_whole_and_has_the_checksum_that_its_spec_states(tmp_path: Path) -> None:
    model = write_model(tmp_path / "models" / "x.safetensors", 4_000_000)
    with safe_open(model.path, framework="numpy") as tensors:
        assert tensors.get_slice("data").get_shape() == [4_000_000]
    content = model.path.read_bytes()
    assert model.size == len(content)
    spec = model.in_spec("https://example.org/x.safetensors")
    assert spec["checksum"] == f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_no_two_models_and_no_two_parts_of_one_are_equal(tmp_path: Path) -> None:
    one, other = (write_model(tmp_path / name, 5 << 20) for name in ("one", "other"))
    assert one.sha256 != other.sha256
    data = one.path.read_bytes()[-(5 << 20) :]
    assert len({data[start : start + (1 << 20)] for start in range(0, 5 << 20, 1 << 20)}) == 5


@pytest.mark.parametrize(
    ("read_s", "hashed_s", "bound", "measured", "met"),
    [(9.0, 2.0, "reading", "0.90×", True), (2.0, 8.0, "hashing", "0.80×", False)],
)
def test_verifying_is_compared_with_the_slower_of_reading_and_hashing(
    read_s: float, hashed_s: float, bound: str, measured: str, met: bool
) -> None:
    row = cold_row(Samples([10.0]), Samples([read_s]), Samples([hashed_s]))
    assert bound in row.what
    assert (row.measured, row.met) == (measured, met)
    assert set(row.samples) == {"ours", "reading", "hashing"}


def test_the_largest_peak_of_memory_counts() -> None:
    assert memory_row([90_000_000, 150_000_000]).met
    row = memory_row([250_000_000, 150_000_000])
    assert (row.measured, row.met) == ("250 MB", False)
