"""Source distributions: what they need to be built, as a setting of uv, and what a failed build
lacked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from comfy_errors.names import as_options
from comfy_home.distributions import distribution_of

DEVEL_BASE = "cuda-devel"
"""The base with compilers, those of CUDA too."""

_COMPILERS = r"(?:[\w.-]*-)?(?:gcc|g\+\+|cc|c\+\+|clang|clang\+\+)"
_LACKING: tuple[tuple[str, str], ...] = (
    (rf"command '[^']*?{_COMPILERS}' failed: No such file", "build-essential"),
    (rf"No such file or directory: '(?:{_COMPILERS}|make)'", "build-essential"),
    (rf"\b(?:{_COMPILERS}|make): (?:command )?not found", "build-essential"),
    (r"Unknown compiler\(s\)|No CMAKE_CX*_COMPILER could be found", "build-essential"),
    (r"CMAKE_CX*_COMPILER not set|linker `cc` not found", "build-essential"),
    (r"Python\.h: No such file", "python3-dev"),
    (r"cmake: (?:command )?not found|No such file or directory: 'cmake'", "cmake"),
    (r"CMake must be installed|Could not find CMake", "cmake"),
    (r"pkg-config: (?:command )?not found|No such file or directory: 'pkg-config'", "pkg-config"),
    (r"can't find Rust compiler|Rust package manager, is not installed", "cargo"),
    (r"No such file or directory: '(?:cargo|rustc)'", "cargo"),
    (r"\bgit: (?:command )?not found|No such file or directory: 'git'", "git"),
)
"""What a failed build says, and the Debian package with the program or file that it lacks."""

_NO_CUDA = re.compile(
    r"CUDA_HOME environment variable is not set|nvcc: (?:command )?not found|nvcc'"
)
_FAILED = re.compile(r"Failed to (?:download and )?build `(?P<name>[A-Za-z0-9._-]+?)(?:==|@| |`)")
_NO_MODULE = re.compile(r"No module named '(?P<name>\w+)")


def build_table(requirements: Mapping[str, list[str]], *, above: str = "") -> str:
    """uv's setting of what source distributions need besides what they say themselves: a table of
    TOML, below the table `above` (such as `tool.uv.`).
    """
    # A list of strings in JSON is one in TOML too.
    lines = [
        f"{json.dumps(name)} = {json.dumps(requirements[name])}" for name in sorted(requirements)
    ]
    return "\n".join([f"[{above}extra-build-dependencies]", *lines, ""])


def build_remedy(output: str) -> str:
    """The next step after a failed build of a source distribution, from what it printed; '' if it
    printed nothing of a missing module, program or compiler.
    """
    text = " ".join(output.split())
    failed, module = _FAILED.search(text), _NO_MODULE.search(text)
    if failed and module:
        needed = distribution_of(module["name"]) or module["name"]
        setting = as_options(build_requirements={failed["name"]: [needed]})
        return (
            f"{failed['name']} does not say that it needs {needed} to be built: add to the spec "
            f"{setting}, and resolve again."
        )
    packages = list(dict.fromkeys(name for sign, name in _LACKING if re.search(sign, text)))
    if not packages and not _NO_CUDA.search(text):
        return ""
    if not packages:
        return (
            "It is built from source with CUDA's compiler. On this machine, install the CUDA "
            f"toolkit; for an image, use the base '{DEVEL_BASE}', which has it: --base, or "
            "'options.base' in the spec."
        )
    setting = as_options(system_packages=packages)
    return (
        f"It is built from source, which needs {' and '.join(packages)}. On this machine: apt-get "
        f"install {' '.join(packages)}. For an image, add to the spec {setting}, or "
        f"use the base '{DEVEL_BASE}', which has compilers (--base, or 'options.base')."
    )
