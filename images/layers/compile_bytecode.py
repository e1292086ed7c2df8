"""Compiles every source without bytecode below a folder; run with the interpreter in question.

The bytecode is in `unchecked-hash` mode and names its source relative to the folder (the import
system puts the real path back), so that its bytes do not depend on times or paths. A source that
does not compile gets no bytecode: packages contain such files as test data.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from functools import partial

_FEW = 16


def compile_source(source: str, folder: str) -> None:
    import py_compile

    py_compile.compile(
        source,
        dfile=os.path.relpath(source, folder),
        quiet=2,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def sources_without_bytecode(folder: str) -> Iterator[str]:
    # Plain strings: an environment has 50,000 files, and pathlib takes four times as long.
    for parent, _folders, files in os.walk(folder):
        for name in files:
            if not name.endswith(".py"):
                continue
            source = f"{parent}/{name}"
            bytecode = importlib.util.cache_from_source(source)
            if os.path.isfile(source) and not os.path.exists(bytecode):  # noqa: PTH110, PTH113
                yield source


def main(folder: str) -> None:
    sources = sorted(sources_without_bytecode(folder))
    if not sources:
        return
    if len(sources) <= _FEW:
        for source in sources:
            compile_source(source, folder)
        return
    # Its modules take longer to import than a few sources take to compile.
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor() as workers:
        for _ in workers.map(partial(compile_source, folder=folder), sources, chunksize=32):
            pass


if __name__ == "__main__":
    main(sys.argv[1])
