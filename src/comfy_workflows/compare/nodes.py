"""Which node's output differs first between two runs of one version of a workflow.

The results of both runs have `node_hashes`, which the start-up hook of an engine makes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from comfy_errors import InvalidInputError
from comfy_errors.names import capitalized, listed, quantity
from comfy_files.json_faults import faults_in_words
from comfy_workflows.compare.compare import Comparison, compare
from comfy_workflows.compare.run import run_of
from comfy_workflows.graph import Graph
from comfy_workflows.node_hashes import HashedOutput, NodeHashes

NodeVerdict = Literal["equal", "different", "not compared", "only once"]

_NODES = TypeAdapter(list[NodeHashes])
_MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class ComparedNode:
    """A node of two runs. `different` are the numbers of the outputs that differ, from 0, and
    `not_compared` of those with objects whose content does not count. A node that ran `only_once`
    was added by another one, or chosen, in one of the runs alone.
    """

    hashes: NodeHashes
    different: tuple[int, ...] = ()
    not_compared: tuple[int, ...] = ()
    only_once: bool = False

    @property
    def verdict(self) -> NodeVerdict:
        if self.only_once:
            return "only once"
        if self.different:
            return "different"
        return "not compared" if self.not_compared else "equal"

    @property
    def title(self) -> str:
        """`node 3 (KSampler)`."""
        node = self.hashes
        added = f", added by node {node.display_node}" if node.display_node != node.node else ""
        return f"node {node.node} ({node.class_type}{added})"

    def document(self) -> dict[str, Any]:
        return {
            "node": self.hashes.node,
            "class_type": self.hashes.class_type,
            "display_node": self.hashes.display_node,
            "verdict": self.verdict,
            "different": list(self.different),
            "not_compared": list(self.not_compared),
        }


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why two runs differ. `sentence` has the answer, `notes` what else a reader has to know.
    `nodes` are in the order of the first run; `first` is the first of them that differs.
    """

    sentence: str
    nodes: tuple[ComparedNode, ...] = ()
    first: ComparedNode | None = None
    notes: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        return {
            "sentence": self.sentence,
            "first": self.first.document() if self.first is not None else None,
            "nodes": [node.document() for node in self.nodes],
            "notes": list(self.notes),
        }


def explain_difference(
    first: Mapping[str, Any], second: Mapping[str, Any], graph: Graph
) -> Explanation:
    """Compares what the nodes gave in two runs of `graph`, of which these are the result documents.

    Raises InvalidInputError for other documents, and OSError.
    """
    before, after = (_nodes_of(result) for result in (first, second))
    outputs = compare(run_of(first, title="the first run"), run_of(second, title="the second run"))
    if not before or not after:
        return Explanation(sentence=_unknown(first, second), notes=_of_outputs(outputs))
    nodes = _compared(before, after)
    found = next((node for node in nodes if node.verdict == "different"), None)
    if found is not None:
        return Explanation(
            sentence=f"{capitalized(found.title)} is the first whose {_which(found)} between two "
            "runs of this version.",
            nodes=nodes,
            first=found,
            notes=(*_blind_spots(nodes, found, graph), *_only_once(nodes)),
        )
    if not outputs.holds:
        wrong = next(finding for finding in outputs.findings if not finding.holds)
        return Explanation(
            sentence="No node that can be compared gives something else in two runs of this "
            f"version, but {wrong.output.title[0].lower()}{wrong.output.title[1:]} differs: the "
            "node writes it differently each time, or depends on what cannot be compared.",
            nodes=nodes,
            notes=(*_blind_spots(nodes, None, graph), *_only_once(nodes)),
        )
    return Explanation(
        sentence="Two runs of this version are equal: the difference comes from what has changed "
        "since, or not with every run.",
        nodes=nodes,
        notes=_only_once(nodes),
    )


def _nodes_of(result: Mapping[str, Any]) -> Mapping[str, NodeHashes]:
    """By their ids, in the order in which they ran."""
    try:
        nodes = _NODES.validate_python(result.get("node_hashes") or [])
    except ValidationError as error:
        raise InvalidInputError(
            f"the result has node_hashes that cannot be used: {faults_in_words(error)}",
            remedy="Run it again with this version of runpod-comfy.",
        ) from error
    return {node.node: node for node in nodes}


def _compared(
    before: Mapping[str, NodeHashes], after: Mapping[str, NodeHashes]
) -> tuple[ComparedNode, ...]:
    """The nodes of both runs, in the order of the first; then those of the second alone."""
    nodes = {**before, **after}
    return tuple(
        _pair(before[name], after[name])
        if name in before and name in after
        else ComparedNode(hashes=node, only_once=True)
        for name, node in nodes.items()
    )


def _pair(before: NodeHashes, after: NodeHashes) -> ComparedNode:
    pairs = enumerate(zip_longest(before.outputs, after.outputs))
    same = {number: one for number, (one, other) in pairs if one == other and one is not None}
    count = max(len(before.outputs), len(after.outputs))
    return ComparedNode(
        hashes=before,
        different=tuple(number for number in range(count) if number not in same),
        not_compared=tuple(number for number, output in same.items() if output.unhashed),
    )


def _which(node: ComparedNode) -> str:
    """`output differs`, or `output 2 (MASK) differs` of a node with several."""
    outputs = node.hashes.outputs
    if len(outputs) < 2:
        return "output differs"
    names = [_output(outputs, number) for number in node.different]
    return f"output {listed(names)} {'differs' if len(names) == 1 else 'differ'}"


def _output(outputs: Sequence[HashedOutput], number: int) -> str:
    name = outputs[number].type if number < len(outputs) else ""
    return f"{number + 1} ({name})" if name else str(number + 1)


def _blind_spots(
    nodes: tuple[ComparedNode, ...], found: ComparedNode | None, graph: Graph
) -> tuple[str, ...]:
    """What `found`, or any node, depends on and cannot be compared."""
    before = nodes if found is None else nodes[: nodes.index(found)]
    if found is not None:
        needed = graph.with_ancestors([found.hashes.display_node])
        before = tuple(node for node in before if node.hashes.display_node in needed)
    blind = [node for node in before if node.verdict == "not compared"]
    more = len(blind) - _MOST_NAMED
    return (
        *(
            f"What {node.title} gives is not compared: {_objects(node)}."
            for node in blind[:_MOST_NAMED]
        ),
        *((f"Nor is what {quantity(more, 'more node')} give.",) if more > 0 else ()),
    )


def _objects(node: ComparedNode) -> str:
    """`MODEL (ModelPatcher), CLIP (CLIP)`."""
    outputs = [node.hashes.outputs[number] for number in node.not_compared]
    found = []
    for output in outputs:
        kinds = listed(output.unhashed, at_most=3)
        found.append(f"{output.type} ({kinds})" if output.type else kinds)
    return listed(found)


def _only_once(nodes: tuple[ComparedNode, ...]) -> tuple[str, ...]:
    once = [node.title for node in nodes if node.only_once]
    return (
        (f"Ran in one of the two runs only: {listed(once, at_most=_MOST_NAMED)}.",) if once else ()
    )


def _unknown(*results: Mapping[str, Any]) -> str:
    """Why no node can be named."""
    warnings = [text for result in results for text in result.get("warnings") or ()]
    mark = "could not be hashed: "
    reason = next((text.partition(mark)[2] for text in warnings if mark in str(text)), "")
    return f"No node can be named: {reason or 'the runs report no outputs of nodes.'}"


def _of_outputs(outputs: Comparison) -> tuple[str, ...]:
    differ = "are equal" if outputs.holds else "differ"
    return (f"The outputs of two runs of this version {differ}.",)
