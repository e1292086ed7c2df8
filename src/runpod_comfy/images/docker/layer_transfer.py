"""Layers on their way to or from a registry, as an engine tells of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from comfy_files.sizes import readable_size
from runpod_comfy.images.docker.stream import Message

How = Literal["moved", "mounted", "existing"]


@dataclass(kw_only=True)
class Transfer:
    """One layer by the engine's short id; `how` is None until it is there.

    `size_bytes` is what moves, which the engine tells only once it moves.
    """

    layer: str
    how: How | None = None
    done_bytes: int = 0
    size_bytes: int = 0


class Transfers:
    """Takes in the messages of one push or pull."""

    def __init__(self) -> None:
        self._layers: dict[str, Transfer] = {}

    def hear(self, message: Message) -> Transfer | None:
        """The layer that is there with this message, if it is one."""
        layer, status = message.get("id"), str(message.get("status", ""))
        # A pull's first message has the tag as its id.
        if not layer or status.startswith("Pulling from"):
            return None
        transfer = self._layers.setdefault(str(layer), Transfer(layer=str(layer)))
        detail = message.get("progressDetail") or {}
        if status in ("Pushing", "Downloading"):
            transfer.done_bytes = int(detail.get("current") or 0)
            transfer.size_bytes = max(int(detail.get("total") or 0), transfer.done_bytes)
        how = _how(status)
        if how is None or transfer.how is not None:
            return None
        transfer.how = how
        transfer.done_bytes = transfer.size_bytes
        return transfer

    @property
    def layers(self) -> list[Transfer]:
        """All of them, in the order in which the engine named them."""
        return list(self._layers.values())

    def in_words(self) -> str:
        """`3/9 layers, 120.0 MB of 400.0 MB`; the sizes are of those that the engine has told."""
        there = sum(transfer.how is not None for transfer in self.layers)
        done = sum(transfer.done_bytes for transfer in self.layers)
        size = sum(transfer.size_bytes for transfer in self.layers)
        words = f"{there}/{len(self._layers)} layers"
        return f"{words}, {readable_size(done)} of {readable_size(size)}" if size else words


def _how(status: str) -> How | None:
    if status.lower().endswith("already exists"):
        return "existing"
    if status.startswith("Mounted from"):
        return "mounted"
    return "moved" if status in ("Pushed", "Pull complete") else None
