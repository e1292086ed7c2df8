"""worker-comfyui's layout as a contestant: an image in its Dockerfile's order, in words of ours.

Followed is https://github.com/runpod-workers/worker-comfyui/blob/d2a5572/Dockerfile with the custom
Dockerfile of its docs/customization.md on top: an environment with uv, ComfyUI with its packages,
the handler's packages, the handler, all custom nodes in one RUN.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runpod_comfy.cache.tree_files import add_file
from runpod_comfy.images.dockerfile import CACHE_ID

FILES = Path(__file__).parent / "worker_files"

_TIME_S = 315_532_800
_MODEL_PATHS = "worker:\n  base_path: /runpod-volume\n  checkpoints: models/checkpoints/\n"
_CORE = (
    "import io, sys, tarfile, urllib.request as web; "
    "tarfile.open(fileobj=io.BytesIO(web.urlopen(sys.argv[1]).read())).extractall('/comfyui')"
)


@dataclass(frozen=True, kw_only=True)
class WorkerImage:
    """What goes into the image.

    `core` is the address of ComfyUI's tree, a tar file, and `nodes` are those of the nodes' zip
    files, in their order. `variables` tell uv where it finds packages, `node_variables` where it
    finds those that nodes ask for. `pins` are the versions of all but the handler's own, which
    shares the environment and may ask for others.
    `workflow` is the graph of the job that the handler is started with.
    """

    base: str
    python: str
    core: str
    nodes: Sequence[str]
    node_variables: Mapping[str, str]
    pins: str
    variables: Mapping[str, str]
    workflow: Mapping[str, Any]

    def dockerfile(self) -> str:
        """The text. Only the first build, which is not timed, has a cache of packages."""
        indexes, node_indexes = _words(self.variables), _words(self.node_variables)
        cache = f"--mount=type=cache,id={CACHE_ID},target=/srv"
        install = f"{indexes} UV_CACHE_DIR=/srv uv pip install".lstrip()
        return "\n".join(
            [
                f"FROM {self.base}",
                "ENV PYTHONUNBUFFERED=1",
                "COPY uv /usr/local/bin/uv",
                f"RUN uv venv --python python{self.python} /opt/venv",
                'ENV VIRTUAL_ENV=/opt/venv PATH="/opt/venv/bin:${PATH}"',
                "ADD pins.txt /",
                f"RUN {cache} {install} pip setuptools wheel",
                f'RUN {cache} python -c "{_CORE}" {self.core} && '
                f"{install} -c /pins.txt torch torchvision torchaudio && "
                f"{install} -c /pins.txt -r /comfyui/requirements.txt",
                "WORKDIR /comfyui",
                "ADD extra_model_paths.yaml ./",
                "WORKDIR /",
                f"RUN {cache} {install} runpod requests websocket-client",
                "ADD start.sh handler.py test_input.json ./",
                "RUN chmod +x /start.sh",
                "COPY install_nodes.py /usr/local/bin/install_nodes.py",
                f"RUN {node_indexes} python /usr/local/bin/install_nodes.py /comfyui/custom_nodes "
                + " ".join(self.nodes),
                'CMD ["/start.sh"]',
                "",
            ]
        )

    def context(self, uv: Path) -> bytes:
        """The context of its build. Cores, nodes and packages are downloaded, as theirs are."""
        stream = io.BytesIO()
        texts = {
            "Dockerfile": self.dockerfile(),
            "pins.txt": self.pins,
            "extra_model_paths.yaml": _MODEL_PATHS,
            "test_input.json": json.dumps({"input": {"workflow": self.workflow}}),
        }
        files = {name: FILES / name for name in ("start.sh", "handler.py", "install_nodes.py")}
        files["uv"] = uv
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for name, text in texts.items():
                member = _member(name)
                member.size = len(text.encode())
                archive.addfile(member, io.BytesIO(text.encode()))
            for name, path in files.items():
                add_file(archive, path, _member(name))
        return stream.getvalue()


def _words(variables: Mapping[str, str]) -> str:
    return " ".join(f"{name}='{value}'" for name, value in sorted(variables.items()))


def _member(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mtime = _TIME_S
    return member
