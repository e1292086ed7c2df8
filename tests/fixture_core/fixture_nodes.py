"""The node classes of the fixture core: each makes one thing happen that a client must bear."""

# Every node is run with the same three arguments, whichever of them it needs.
# ruff: noqa: ARG002

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import folder_paths

STRING: list[Any] = ["STRING", {}]


class Torch(ModuleType):
    """The memory of `torch.cuda` (torch/cuda/memory.py): the peak is at least what is allocated."""

    allocated = peak = 0

    @property
    def cuda(self) -> Torch:
        return self

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def allocate(self, size_bytes: int) -> None:
        self.allocated += size_bytes
        self.peak = max(self.peak, self.allocated)

    def max_memory_allocated(self, device: int) -> int:
        return self.peak

    def reset_peak_memory_stats(self, device: int) -> None:
        self.peak = self.allocated


class InterruptedRunError(Exception):
    """The run was interrupted."""


class Node:
    """A node class. `run` gets the server as `core`, the node's id, its inputs with links
    resolved; it gives `(ui outputs, value)`."""

    required: dict[str, Any] = {}
    output_node = True

    async def run(self, core: Any, node_id: str, inputs: dict[str, Any]) -> tuple[Any, Any]:
        raise NotImplementedError


class FixtureSave(Node):
    """Writes `content` to a numbered file and shows it under `key`, as SaveImage does."""

    required = {"content": STRING, "prefix": STRING, "suffix": STRING, "key": STRING}

    async def run(self, core: Any, node_id: str, inputs: dict[str, Any]) -> tuple[Any, Any]:
        kind = inputs.get("type", "output")
        folder = {"output": core.output, "temp": core.temp, "input": core.input}[kind]
        subfolder, _, prefix = inputs["prefix"].rpartition("/")
        (folder / subfolder).mkdir(parents=True, exist_ok=True)
        number = 1
        while (folder / subfolder / f"{prefix}_{number:05}{inputs['suffix']}").exists():
            number += 1
        name = f"{prefix}_{number:05}{inputs['suffix']}"
        (folder / subfolder / name).write_text(inputs["content"])
        entry = {"filename": name, "subfolder": subfolder, "type": kind}
        return {inputs["key"]: [entry], "animated": [False]}, None


class FixtureShow(Node):
    """Shows what `ui` holds, whatever that is."""

    required = {"ui": STRING}

    async def run(self, core: Any, node_id: str, inputs: dict[str, Any]) -> tuple[Any, Any]:
        return inputs["ui"], None


class FixtureText(Node):
    """Gives `text` to the nodes that link to it. Not an output."""

    required = {"text": STRING}
    output_node = False

    async def run(self, core: Any, node_id: str, inputs: dict[str, Any]) -> tuple[Any, Any]:
        return None, inputs["text"]


class FixtureRead(Node):
    """Shows the text of an input file. Like many nodes, it does not say whether that changed."""

    required = {"file": STRING}

    async def run(self, core: Any, node_id: str, inputs: dict[str, Any]) -> tuple[Any, Any]:
        return {"text": [(core.input / inputs["file"]).read_text()]}, None


class FixtureModel(Node):
    """Shows the last word of a model file, as it was when this path was first read: like LoraLoader
    of ComfyUI, it keeps what it has read.
    """

    required = {"name": STRING}
    read: dict[str, str] = {}

    async def run(self, core: Any, node_id: str, inputs: dict[str, Any]) -> tuple[Any, Any]:
        path = folder_paths.full_path("upscale_models", inputs["name"])
        if path not in self.read:
            self.read[path] = Path(path).read_bytes().split()[-1].decode()
        return {"text": [self.read[path]]}, None


class FixtureMode(FixtureText):
    """Has a combo with fixed choices."""

    required = {"text": [["plain", "fancy"], {}]}


class FixtureLoader(Node):
    """Chooses among model files."""

    output_node = False

    def __init__(self) -> None:
        files = folder_paths.filename_list("upscale_models")
        self.required = {"model_name": [[*files, "built in"], {}]}

    async def run(self, core: Any, node_id: str, inputs: dict[str, Any]) -> tuple[Any, Any]:
        return None, inputs["model_name"]


class FixtureRaise(Node):
    """Raises the builtin exception named `kind`."""

    required = {"kind": STRING, "message": STRING}

    async def run(self, core: Any, node_id: str, inputs: dict[str, Any]) -> tuple[Any, Any]:
        import builtins

        raise getattr(builtins, inputs["kind"])(inputs["message"])


class FixtureHungry(Node):
    """Raises MemoryError until memory was freed `frees` times since the start of the core."""

    required = {"frees": ["INT", {}]}

    async def run(self, core: Any, node_id: str, inputs: dict[str, Any]) -> tuple[Any, Any]:
        sys.stdout.write(f"hungry after {core.frees}\n")
        sys.stdout.flush()
        if core.frees < inputs["frees"]:
            raise MemoryError("too big")
        return {"text": ["eaten"]}, None


class FixtureSleep(Node):
    """Makes the file `begun`, then sleeps until it is interrupted or the file `until` exists."""

    async def run(self, core: Any, node_id: str, inputs: dict[str, Any]) -> tuple[Any, Any]:
        if "begun" in inputs:
            Path(inputs["begun"]).touch()
        while not core.interrupted:
            if "until" in inputs and Path(inputs["until"]).exists():
                return {"text": ["slept"]}, None
            await asyncio.sleep(0.01)
        raise InterruptedRunError


class FixtureInterruptItself(FixtureSleep):
    """As if a user pressed the button in the page."""

    async def run(self, core: Any, node_id: str, inputs: dict[str, Any]) -> tuple[Any, Any]:
        raise InterruptedRunError


class FixtureProgress(Node):
    """Counts to `steps`, in the way of `style`: progress or progress_state."""

    required = {"steps": ["INT", {}], "style": STRING}

    async def run(self, core: Any, node_id: str, inputs: dict[str, Any]) -> tuple[Any, Any]:
        for step in range(1, inputs["steps"] + 1):
            if inputs["style"] == "progress":
                told = {"value": step, "max": inputs["steps"], "node": node_id}
            else:
                state = {"value": step, "max": inputs["steps"], "state": "running"}
                told = {"nodes": {node_id: state}}
            await core.tell(inputs["style"], told)
        return {"text": ["counted"]}, None


class FixtureAllocate(Node):
    """Allocates `size_bytes` on the GPU of FIXTURE_GPU, and keeps `kept_bytes` of them."""

    required = {"size_bytes": ["INT", {}], "kept_bytes": ["INT", {}]}

    async def run(self, core: Any, node_id: str, inputs: dict[str, Any]) -> tuple[Any, Any]:
        torch: Any = sys.modules["torch"]
        torch.allocate(inputs["size_bytes"])
        torch.allocate(inputs["kept_bytes"] - inputs["size_bytes"])
        return {"text": ["allocated"]}, None


class FixtureExit(Node):
    """Ends the whole engine on the spot."""

    required = {"status": ["INT", {}]}

    async def run(self, core: Any, node_id: str, inputs: dict[str, Any]) -> tuple[Any, Any]:
        sys.stdout.write("about to fall over\n")
        sys.stdout.flush()
        os._exit(inputs["status"])


class FixtureDropSocket(Node):
    """Breaks every WebSocket. With `deaf`, no message is sent from then on."""

    required = {"deaf": ["BOOLEAN", {}]}

    async def run(self, core: Any, node_id: str, inputs: dict[str, Any]) -> tuple[Any, Any]:
        core.deaf = inputs["deaf"]
        await core.drop_sockets()
        return {"text": ["still here"]}, None


class FixtureBigPreview(Node):
    """Sends `size_bytes` of binary preview to everybody."""

    required = {"size_bytes": ["INT", {}]}

    async def run(self, core: Any, node_id: str, inputs: dict[str, Any]) -> tuple[Any, Any]:
        for socket in core.sockets.values():
            await socket.send_bytes(bytes(inputs["size_bytes"]))
        return {"text": ["sent"]}, None


class FixturePreview(Node):
    """Sends previews: pictures in base64 with spaces between, from the text `previews` or a `file`.
    The kind 1 does not say which node it is from, the kind 4 does.
    """

    required = {"kind": ["INT", {}]}

    async def run(self, core: Any, node_id: str, inputs: dict[str, Any]) -> tuple[Any, Any]:
        prompt_id, client_id = core.running
        about = {"node_id": node_id, "display_node_id": node_id, "prompt_id": prompt_id}
        told = json.dumps({**about, "image_type": "image/jpeg", **inputs.get("about", {})}).encode()
        text = inputs["previews"] if "previews" in inputs else Path(inputs["file"]).read_text()
        for preview in text.split():
            number = 1 if inputs["kind"] == 1 else len(told)
            header = struct.pack(">II", inputs["kind"], number)
            body = b"" if inputs["kind"] == 1 else told
            await core.sockets[client_id].send_bytes(header + body + base64.b64decode(preview))
        return {"text": ["shown"]}, None


class FixtureSpawn(Node):
    """Starts a process that is left to itself, and shows its id."""

    async def run(self, core: Any, node_id: str, inputs: dict[str, Any]) -> tuple[Any, Any]:
        child = subprocess.Popen(["sleep", "600"])
        return {"text": [str(child.pid)]}, None


class FixtureEnvironment(Node):
    """Shows the environment variable `name`."""

    required = {"name": STRING}

    async def run(self, core: Any, node_id: str, inputs: dict[str, Any]) -> tuple[Any, Any]:
        return {"text": [os.environ.get(inputs["name"], "(not set)")]}, None


NODE_CLASSES: dict[str, type[Node]] = {
    one.__name__: one
    for one in (
        FixtureAllocate,
        FixtureBigPreview,
        FixtureDropSocket,
        FixtureEnvironment,
        FixtureExit,
        FixtureHungry,
        FixtureInterruptItself,
        FixtureLoader,
        FixtureMode,
        FixtureModel,
        FixturePreview,
        FixtureProgress,
        FixtureRaise,
        FixtureRead,
        FixtureSave,
        FixtureShow,
        FixtureSleep,
        FixtureSpawn,
        FixtureText,
    )
}
