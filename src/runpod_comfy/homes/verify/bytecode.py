"""Lists bytecode that does not match its source; run with the interpreter in question.

Reads a JSON list of folders on standard input, writes a JSON list of the paths of bytecode. A
source without bytecode is skipped: it will be compiled on import. Uses the standard library only.
"""

from __future__ import annotations

import importlib.util
import json
import marshal
import os
import sys
from concurrent.futures import ProcessPoolExecutor

_HEADER_BYTES = 16


def is_right(item: tuple[str, str]) -> bool:
    """True if bytecode (its path, its source's path) matches the source and is of the unchecked
    kind.
    """
    bytecode, source = item
    with open(source, "rb") as stream:  # noqa: PTH123
        text = stream.read()
    with open(bytecode, "rb") as stream:  # noqa: PTH123
        found = stream.read()
    flags = (1).to_bytes(4, "little")
    header = importlib.util.MAGIC_NUMBER + flags + importlib.util.source_hash(text)
    if found[:_HEADER_BYTES] != header:
        return False
    try:
        code = compile(text, source, "exec", dont_inherit=True)
        # Not byte by byte: how often an object is shared within it varies.
        return bool(marshal.loads(found[_HEADER_BYTES:]) == code)
    except Exception:
        return False


def main() -> None:
    items = []
    for folder in json.load(sys.stdin):
        for parent, _folders, files in os.walk(folder):
            for name in sorted(files):
                source = os.path.join(parent, name)  # noqa: PTH118
                bytecode = importlib.util.cache_from_source(source)
                if name.endswith(".py") and os.path.isfile(bytecode):  # noqa: PTH113
                    items.append((bytecode, source))
    with ProcessPoolExecutor() as workers:
        right = list(workers.map(is_right, items, chunksize=32))
    json.dump([item[0] for item, good in zip(items, right, strict=True) if not good], sys.stdout)


if __name__ == "__main__":
    main()
