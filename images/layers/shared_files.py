"""Settles files that several distributions install with different content.

Run with the environment's interpreter, after an installation:
`shared_files.py VENV REQUIREMENTS INSTALLER pip install OPTION…`.

The installer works in parallel, so which of these files is left differs from time to time. The
distributions of REQUIREMENTS, a file as the plan writes it, that have such files are removed and
installed again, one after the other, in the order of REQUIREMENTS: the last one's are kept. A file
of an earlier layer is replaced by that of a later one. A file that is the same in all of them is
left alone. Prints a line that starts with `Note: ` for each clash.
"""

from __future__ import annotations

import csv
import glob
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict

Requirements = dict[str, str]
"""The lines of each requirement, by the distribution's normalized name, in the file's order."""


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def read_requirements(path: str) -> Requirements:
    with open(path, encoding="utf-8") as stream:  # noqa: PTH123
        blocks = re.split(r"^(?=[A-Za-z0-9])", stream.read(), flags=re.MULTILINE)
    found: defaultdict[str, str] = defaultdict(str)
    for block in filter(None, blocks):
        found[normalized(block.partition("==")[0])] += block
    return found


def clashing_files(packages: str) -> dict[str, list[str]]:
    """The names of the distributions that install a file, by its path in the folder `packages`, for
    each file that is not the same in all of them.
    """
    # Plain strings: an environment has 50,000 files.
    found: dict[str, dict[str, str]] = {}
    for folder in sorted(os.listdir(packages)):  # noqa: PTH208
        record = f"{packages}/{folder}/RECORD"
        if not folder.endswith(".dist-info") or not os.path.isfile(record):  # noqa: PTH113
            continue
        name = normalized(folder.partition("-")[0])
        with open(record, newline="", encoding="utf-8", errors="surrogateescape") as stream:  # noqa: PTH123
            for row in csv.reader(stream):
                if len(row) > 1:
                    found.setdefault(row[0], {})[name] = row[1]
    return {path: list(those) for path, those in found.items() if len({*those.values()}) > 1}


def install_again(requirements: Requirements, install: list[str]) -> None:
    uninstall = [install[0], "pip", "uninstall", "--quiet", "--python", sys.executable]
    subprocess.run([*uninstall, *requirements], check=True)
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/requirements.txt"
        for lines in requirements.values():
            with open(file, "w", encoding="utf-8") as stream:  # noqa: PTH123
                stream.write(lines)
            subprocess.run([*install, "--quiet", "--requirements", file], check=True)


def note(names: tuple[str, ...], files: list[str]) -> str:
    *others, kept = names
    both = "both" if len(others) == 1 else "all"
    more = f" and {len(files) - 1} more that differ" if len(files) > 1 else ""
    those = "those" if more else "that"
    return (
        f"Note: {', '.join(others)} and {kept} {both} install {min(files)}{more}; "
        f"{those} of {kept} {'are' if more else 'is'} kept"
    )


def main(venv: str, requirements_file: str, *install: str) -> None:
    requirements = read_requirements(requirements_file)
    order = list(requirements)
    (packages,) = glob.glob(f"{venv}/lib/python3*/site-packages")  # noqa: PTH207
    again: set[str] = set()
    clashes: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for path, names in clashing_files(packages).items():
        here = sorted((name for name in names if name in requirements), key=order.index)
        if not here:
            # An earlier layer has settled it.
            continue
        if len(here) > 1:
            again.update(here)
        clashes[*(name for name in names if name not in requirements), *here].append(path)
    if again:
        install_again({name: requirements[name] for name in order if name in again}, list(install))
    for path in (path for files in clashes.values() for path in files if path.endswith(".py")):
        # The bytecode is that of the earlier layer's file.
        bytecode = importlib.util.cache_from_source(f"{packages}/{path}")
        if os.path.exists(bytecode):  # noqa: PTH110
            os.remove(bytecode)  # noqa: PTH107
    for names_in_order, files in sorted(clashes.items()):
        print(note(names_in_order, files), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
