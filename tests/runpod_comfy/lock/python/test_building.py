"""What source distributions need to be built: stated by the spec, and named if it is missing."""

from __future__ import annotations

import tomllib

import pytest

from comfy_errors import OperationFailedError
from runpod_comfy.lock.python.building import DEVEL_BASE, build_remedy, build_table
from tests.package_index import make_sdist, write_index
from tests.runpod_comfy.lock.conftest import Bench


def test_the_table_is_toml_in_the_order_of_names() -> None:
    text = build_table({"needy": ["helper>=1", 'six ; sys_platform == "linux"'], "a-b": ["x"]})
    assert tomllib.loads(text) == {
        "extra-build-dependencies": {
            "a-b": ["x"],
            "needy": ["helper>=1", 'six ; sys_platform == "linux"'],
        }
    }
    assert text.index("a-b") < text.index("needy")
    assert "tool" in tomllib.loads(build_table({}, above="tool.uv."))


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("error: command 'gcc' failed: No such file or directory", "build-essential"),
        ("error: command '/usr/bin/x86_64-linux-gnu-g++' failed: No such file or", "build-ess"),
        ("sh: 1: cc: not found", "build-essential"),
        ("CMake Error: CMAKE_CXX_COMPILER not set, after EnableLanguage", "build-essential"),
        ("ERROR: Unknown compiler(s): [['cc'], ['gcc'], ['clang']]", "build-essential"),
        ("x.c:1:10: fatal error: Python.h: No such file or directory", "python3-dev"),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'cmake'", "cmake"),
        ("error: can't find Rust compiler", "cargo"),
        ("CUDA_HOME environment variable is not set. Please set it", "CUDA toolkit"),
        (
            "Failed to build `needy==1.0` ModuleNotFoundError: No module named 'torch'",
            '"options": {"build_requirements": {"needy": ["torch"]}}',
        ),
        ("Failed to build `needy==1.0` No module named 'pkg_resources'", "setuptools<82"),
        ("error: something else", ""),
        ("the package gcc-like: not found in the index", ""),
    ],
)
def test_a_failed_build_is_answered_with_what_it_lacked(output: str, told: str) -> None:
    remedy = build_remedy(output)
    assert told in remedy
    assert bool(remedy) == bool(told)
    if "apt-get" in remedy:
        assert "For an image" in remedy
        assert '"system_packages": ["' in remedy
        assert DEVEL_BASE in remedy


@pytest.mark.slow
def test_a_source_distribution_is_built_with_what_the_spec_says(bench: Bench) -> None:
    bench.release("helper", "1.0")
    make_sdist(bench.index / "files", "needy", "1.0", source="import helper")
    write_index(bench.index)
    error = bench.error("alpha\n", painter="needy\n")
    assert isinstance(error, OperationFailedError)
    assert "node:painter, requirements.txt line 1 ('needy')" in error.message
    assert '"options": {"build_requirements": {"needy": ["helper"]}}' in error.remedy
    options = {"build_requirements": {"Needy": ["helper"], "absent": ["helper"]}}
    lock = bench.lock("alpha\n", painter="needy\n", options=options)
    assert "needy" in {item.name for item in lock.wheels}
    assert lock.build_requirements == {"absent": ["helper"], "needy": ["helper"]}
    assert "options.build_requirements names absent, which this version does not have" in bench.said
