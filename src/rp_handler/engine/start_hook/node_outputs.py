"""Runs in the engine's own process, where the handler asks for it: hashes what each node gives.

`sitecustomize` loads it by its path. `execution.execute` of the core, which runs one node, is
replaced by one that also observes the cache into which the core puts the outputs of each node that
has run, whether the node is awaited, was added by another one, or has a graph of its own.

The report is an existing file, which gets one JSON object per line: `{"observed": true}` once, or
`{"fault": SENTENCE}`; then for each node that has run `prompt`, `node`, `class_type`,
`display_node`, which is the node of the graph that added it, and `outputs`, a list of
`{type, sha256, unhashed}`. Only the standard library, and Python 3.9.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import hashlib
import inspect
import struct
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

_NEEDED = ("prompt_id", "dynprompt", "caches")
_MARK = "_rp_handler_observes"
_CHUNK_BYTES = 64 * 1024 * 1024
_DEEPEST = 100
_LONGEST_NAME = 100


class Recorder:
    """Reports the outputs of nodes with `write`. Must never fail in the core's code."""

    def __init__(self, write: Callable[..., None]) -> None:
        self._write = write
        self._classes: Any = {}
        self._prompt_id = ""
        self._graph: Any = None

    def install(self, execution: ModuleType) -> None:
        """Observes the nodes that the core's module `execution` runs."""
        execute: Any = getattr(execution, "execute", None)
        try:
            signature = inspect.signature(execute)
        except (TypeError, ValueError):
            self._write(fault="this ComfyUI has no function execution.execute")
            return
        missing = [name for name in _NEEDED if name not in signature.parameters]
        if missing:
            self._write(fault=f"execution.execute of this ComfyUI has no {missing[0]}")
            return
        nodes = getattr(execution, "nodes", None)
        self._classes = getattr(nodes, "NODE_CLASS_MAPPINGS", {})

        if inspect.iscoroutinefunction(execute):

            @functools.wraps(execute)
            async def observed(*arguments: Any, **named: Any) -> Any:
                self._begin(signature, arguments, named)
                return await execute(*arguments, **named)

        else:

            @functools.wraps(execute)
            def observed(*arguments: Any, **named: Any) -> Any:
                self._begin(signature, arguments, named)
                return execute(*arguments, **named)

        execution.execute = observed  # type: ignore[attr-defined]
        self._write(observed=True)

    def _begin(
        self, signature: inspect.Signature, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> None:
        with contextlib.suppress(Exception):
            given = signature.bind(*arguments, **named).arguments
            self._prompt_id, self._graph = str(given["prompt_id"]), given["dynprompt"]
            cache = given["caches"].outputs
            if not hasattr(cache, _MARK):
                setattr(cache, _MARK, True)
                cache.set = self._observed_set(cache.set)

    def _observed_set(self, put: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(put)
        def observed(node_id: Any, value: Any, *others: Any, **named: Any) -> Any:
            with contextlib.suppress(Exception):
                self._record(str(node_id), getattr(value, "outputs", value))
            return put(node_id, value, *others, **named)

        return observed

    def _record(self, node_id: str, outputs: Any) -> None:
        class_type = str(self._graph.get_node(node_id)["class_type"])
        display_node = node_id
        with contextlib.suppress(Exception):
            display_node = str(self._graph.get_display_node_id(node_id))
        types = getattr(self._classes.get(class_type), "RETURN_TYPES", None) or ()
        self._write(
            prompt=self._prompt_id,
            node=node_id,
            class_type=class_type,
            display_node=display_node,
            outputs=[
                {"type": _type_name(types, number), **hashed(values)}
                for number, values in enumerate(outputs or ())
            ],
        )


def _type_name(types: Any, number: int) -> str:
    """The core's name of an output's type, `LATENT`; empty if it is not known."""
    name = types[number] if number < len(types) else ""
    return name[:_LONGEST_NAME] if isinstance(name, str) else "COMBO"


def hashed(value: Any) -> dict[str, Any]:
    """The sha256 of a value's content, and as `unhashed` the types of objects in it, by name, whose
    content does not count: models, for example.
    """
    unhashed: set[str] = set()
    digest = _Digest(unhashed).of(value, ())
    return {"sha256": digest.hex(), "unhashed": sorted(unhashed)}


class _Digest:
    def __init__(self, unhashed: set[str]) -> None:
        self._unhashed = unhashed

    def of(self, value: Any, around: tuple[int, ...]) -> bytes:
        """The digest of `value`, which is inside of the objects with the ids `around`."""
        if len(around) < _DEEPEST and id(value) not in around:
            with contextlib.suppress(Exception):
                found = self._found(value, (*around, id(value)))
                if found is not None:
                    return found
        # By name: the text of an object often has its address.
        name = type(value).__name__[:_LONGEST_NAME]
        self._unhashed.add(name)
        return _sha256("object", name.encode())

    def _found(self, value: Any, around: tuple[int, ...]) -> bytes | None:
        """None for an object that is not known."""
        plain = _plain(value)
        if plain is not None:
            return _sha256(*plain)
        if isinstance(value, (list, tuple)):
            return _sha256("list", *(self.of(one, around) for one in value))
        if isinstance(value, dict):
            pairs = (self.of(key, around) + self.of(one, around) for key, one in value.items())
            return _sha256("dict", *sorted(pairs))
        if isinstance(value, (set, frozenset)):
            return _sha256("set", *sorted(self.of(one, around) for one in value))
        # Classes of the core.
        if type(value).__name__ == "ExecutionBlocker":
            return _sha256("blocked", self.of(value.message, around))
        if type(value).__name__ == "NestedTensor":
            return _sha256("nested", self.of(value.tensors, around))
        return self._of_library(value, around)

    def _of_library(self, value: Any, around: tuple[int, ...]) -> bytes | None:
        torch, numpy, pillow = (sys.modules.get(name) for name in ("torch", "numpy", "PIL.Image"))
        if torch is not None and isinstance(value, torch.Tensor):
            return _of_tensor(torch, value) if _is_dense(torch, value) else None
        if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
            return self._of_array(numpy, value, around)
        if pillow is not None and isinstance(value, pillow.Image):
            palette = value.palette.tobytes() if value.palette is not None else b""
            head = f"{value.mode} {value.size}".encode()
            return _sha256("image", head, palette, value.tobytes())
        return None

    def _of_array(self, numpy: Any, value: Any, around: tuple[int, ...]) -> bytes:
        head = f"{value.dtype.str} {value.shape}".encode()
        if value.dtype.hasobject:
            return _sha256("array", head, self.of(value.tolist(), around))
        content = numpy.ascontiguousarray(value).reshape(-1).view(numpy.uint8)
        return _sha256("array", head, memoryview(content))


def _plain(value: Any) -> tuple[str, bytes] | None:
    if isinstance(value, enum.Enum):
        return "enum", f"{type(value).__name__}.{value.name}".encode()
    if value is None or isinstance(value, bool):
        return "constant", repr(value).encode()
    if isinstance(value, int):
        return "number", hex(value).encode()
    if isinstance(value, float):
        return "float", struct.pack("<d", value)
    if isinstance(value, complex):
        return "complex", struct.pack("<dd", value.real, value.imag)
    if isinstance(value, str):
        return "text", value.encode("utf-8", "surrogatepass")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "bytes", bytes(value)
    return None


def _is_dense(torch: Any, tensor: Any) -> bool:
    """False for tensors without plain numbers, which PyTorch may not survive to be read as bytes:
    quantized and nested ones, classes of their own.
    """
    is_plain = type(tensor) in (torch.Tensor, torch.nn.Parameter) and not tensor.is_nested
    is_there = tensor.layout == torch.strided and tensor.device.type != "meta"
    return is_plain and is_there and not tensor.is_quantized


def _of_tensor(torch: Any, tensor: Any) -> bytes:
    """Of a dense tensor on any device: its type, its shape, its numbers in order."""
    plain = tensor.detach().resolve_conj().resolve_neg().contiguous()
    content = plain.reshape(-1).view(torch.uint8)
    digest = hashlib.sha256(f"tensor\0{tensor.dtype} {tuple(tensor.shape)}\0".encode())
    for begin in range(0, content.numel(), _CHUNK_BYTES):
        digest.update(memoryview(content[begin : begin + _CHUNK_BYTES].cpu().numpy()))
    return digest.digest()


def _sha256(kind: str, *parts: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(f"{kind}\0".encode())
    for part in parts:
        digest.update(struct.pack("<Q", len(part)))
        digest.update(part)
    return digest.digest()
