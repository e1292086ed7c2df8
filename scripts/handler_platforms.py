"""Writes images/handler/<platform>-<Python>.json: the platforms that the handler's PEX is made for.

    .venv/bin/python scripts/handler_platforms.py

Their format is that of `pex3 interpreter inspect --markers --tags`; with them, every machine
builds the same PEX, whatever Python and system it has itself. glibc 2.28 is that of Debian 10 and
RHEL 8.
"""

from __future__ import annotations

import json
from pathlib import Path

from packaging.tags import compatible_tags, cpython_tags

FOLDER = Path(__file__).resolve().parents[1] / "images" / "handler"
PYTHONS = ((3, 11), (3, 12), (3, 13))
MACHINES = ("x86_64", "aarch64")
NEWEST_GLIBC = 28


def platform_document(python: tuple[int, int], machine: str) -> dict[str, object]:
    """The tags and markers of CPython `python` on Linux."""
    version = ".".join(map(str, python))
    interpreter = "cp" + "".join(map(str, python))
    oldest = 5 if machine == "x86_64" else 17
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(NEWEST_GLIBC, oldest - 1, -1)]
    platforms += [f"manylinux2014_{machine}"]
    platforms += [f"manylinux2010_{machine}", f"manylinux1_{machine}"] * (machine == "x86_64")
    platforms += [f"linux_{machine}"]
    tags = [
        *cpython_tags(python, abis=[interpreter], platforms=platforms),
        *compatible_tags(python, interpreter=interpreter, platforms=platforms),
    ]
    return {
        "compatible_tags": [str(tag) for tag in tags],
        "marker_environment": {
            "implementation_name": "cpython",
            "implementation_version": f"{version}.0",
            "os_name": "posix",
            "platform_machine": machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{version}.0",
            "python_version": version,
            "sys_platform": "linux",
        },
    }


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for python in PYTHONS:
        for machine in MACHINES:
            name = f"linux-{machine}-{'.'.join(map(str, python))}.json"
            text = json.dumps(platform_document(python, machine), indent=1) + "\n"
            (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
