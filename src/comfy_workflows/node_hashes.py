"""What the nodes of a run gave, as hashes: `node_hashes` of a result document."""

from __future__ import annotations

from pydantic import Field

from comfy_files.json_model import Reported


class HashedOutput(Reported):
    """One output of a node: its type as the core names it (`LATENT`, empty if not known), and the
    sha256 of its content. `unhashed` are the types of objects in it whose content does not count.
    """

    type: str = ""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    unhashed: list[str] = []


class NodeHashes(Reported):
    """The outputs of a node that has run. `display_node` is the node of the graph that stands for
    it: another one where a node added it while it ran.
    """

    node: str
    class_type: str
    display_node: str
    outputs: list[HashedOutput]
