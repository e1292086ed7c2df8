"""Compiles what has no bytecode yet below a folder; run with the interpreter in question.

The bytecode is in `unchecked-hash` mode and names its source relative to the folder (the import
system puts the real path back), so that its bytes depend on neither times nor places.
A source that does not compile is left without bytecode: packages carry such files as test data.
"""

from __future__ import annotations

import importlib.util
import os
import py_compile
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path


def compile_source(source: str, folder: str) -> None:
    py_compile.compile(
        source,
        dfile=os.path.relpath(source, folder),
        quiet=2,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def main(folder: str) -> None:
    sources = [
        str(source)
        for source in sorted(Path(folder).rglob("*.py"))
        if source.is_file() and not Path(importlib.util.cache_from_source(str(source))).exists()
    ]
    with ProcessPoolExecutor() as workers:
        for _ in workers.map(partial(compile_source, folder=folder), sources, chunksize=32):
            pass


if __name__ == "__main__":
    main(sys.argv[1])
