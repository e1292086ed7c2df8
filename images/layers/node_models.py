"""Links models into a node's folder: `node_models.py FOLDER LINKS_FILE`.

The file is a JSON object: path in the folder → target of the link there. A file of the node at such
a path, which may be a pointer of git LFS, is replaced.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

FAILED = 1


def main(folder: Path, links_file: Path) -> None:
    for path, target in json.loads(links_file.read_text(encoding="utf-8")).items():
        place = folder / path
        try:
            if not place.parent.resolve().is_relative_to(folder.resolve()):
                fail(path, "one of its folders is a link that leads outside the node's folder")
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.is_dir() and not place.is_symlink():
                fail(path, "the node has a folder there")
            place.unlink(missing_ok=True)
            place.symlink_to(target)
        except (FileExistsError, NotADirectoryError):
            fail(path, "one of its folders is a file of the node")


def fail(path: str, reason: str) -> None:
    sys.stderr.write(
        f"the model at {path} of this node cannot be put there: {reason}\n"
        "  → Give it another 'target_path' in the spec.\n"
    )
    sys.exit(FAILED)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
