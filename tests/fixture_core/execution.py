"""Runs one node and keeps what it gave, where ComfyUI does: `execute` and `caches.outputs`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class CacheEntry:
    """What a node shows, and a list of values for each of its outputs, of which it has one."""

    ui: Any
    outputs: list[list[Any]]


class Cache:
    def __init__(self) -> None:
        self.entries: dict[str, CacheEntry] = {}

    def get(self, node_id: str) -> CacheEntry | None:
        return self.entries.get(node_id)

    def set(self, node_id: str, value: CacheEntry) -> None:
        self.entries[node_id] = value


class CacheSet:
    def __init__(self) -> None:
        self.outputs = Cache()


class DynamicPrompt:
    def __init__(self, original: dict[str, Any]) -> None:
        self.original = original

    def get_node(self, node_id: str) -> dict[str, Any]:
        node: dict[str, Any] = self.original[node_id]
        return node

    def get_display_node_id(self, node_id: str) -> str:
        return node_id


async def execute(
    server: Any,
    dynprompt: DynamicPrompt,
    caches: CacheSet,
    current_item: str,
    inputs: dict[str, Any],
    prompt_id: str,
) -> CacheEntry:
    # Every core has the id of the prompt here.
    del prompt_id
    node_class = server.classes[dynprompt.get_node(current_item)["class_type"]]
    ui, value = await node_class().run(server, current_item, inputs)
    entry = CacheEntry(ui=ui, outputs=[[value]])
    caches.outputs.set(current_item, entry)
    return entry
