"""Installs custom nodes as comfy-cli does: an archive of each, then its requirements, one by one.

Arguments: the folder of custom nodes, and the archives' addresses, `<name>-<commit>.zip`.
"""

import io
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

nodes, *archives = sys.argv[1:]
for address in archives:
    node = Path(nodes) / address.rsplit("/", 1)[-1].rpartition("-")[0]
    with urllib.request.urlopen(address) as answer:
        zipfile.ZipFile(io.BytesIO(answer.read())).extractall(node)
    requirements = node / "requirements.txt"
    if requirements.is_file():
        subprocess.run(["uv", "pip", "install", "-r", requirements], check=True)
