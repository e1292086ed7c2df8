"""The graph as a drawing: columns from left to right, each node right of what it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from comfy_workflows.graph import Graph, GraphNode
from comfy_workflows.report.elements import Element, add, element

State = Literal["differs", "part", "same"]

_WIDTH, _HEIGHT = 204, 52
_GAP_X, _GAP_Y = 56, 18
_MARGIN = 14
_SWEEPS = 6
_LETTERS = 22
_LABELS: dict[State, str] = {
    "differs": "its output differs",
    "part": "took part in an output that differs",
    "same": "took no part in one",
}


@dataclass
class _Cell:
    """A node in a column, or a link that passes through it."""

    node: str | None
    before: list[int] = field(default_factory=list)
    after: list[int] = field(default_factory=list)
    y: float = 0.0


def drawing(
    graph: Graph, *, differing: set[str], replaced: set[str], links: Mapping[str, str]
) -> Element:
    """The graph as SVG. `links` are addresses in the page, by node id; `differing` nodes made an
    output that differs, `replaced` ones have another implementation.
    """
    layers = _layers(graph)
    cells, columns, routes = _cells(graph, layers)
    _arrange(cells, columns)
    width = 2 * _MARGIN + len(columns) * (_WIDTH + _GAP_X) - _GAP_X
    height = 2 * _MARGIN + max((cells[each].y for column in columns for each in column), default=0)
    height += _HEIGHT
    svg = element(
        "svg",
        {
            "viewBox": f"0 0 {width:.0f} {height:.0f}",
            "width": f"{width:.0f}",
            "height": f"{height:.0f}",
            "role": "group",
            "aria-label": "The graph of the workflow",
        },
    )
    taking_part = graph.with_ancestors(differing)
    column_of = {each: number for number, column in enumerate(columns) for each in column}
    for route in routes:
        target = cells[route[-1]].node
        carries = target in taking_part
        points = [(_x(column_of[each]), _MARGIN + cells[each].y) for each in route]
        svg.append(element("path", {"class": "part" if carries else "same", "d": _path(points)}))
    for number, cell in enumerate(cells):
        if cell.node is None:
            continue
        state: State = "part" if cell.node in taking_part else "same"
        state = "differs" if cell.node in differing else state
        box = _box(graph.nodes[cell.node], state, is_replaced=cell.node in replaced)
        box.set("x", f"{_x(column_of[number])}")
        box.set("y", f"{_MARGIN + cell.y:.0f}")
        address = links.get(cell.node)
        svg.append(element("a", {"href": address}, box) if address else box)
    return svg


def _x(column: int) -> int:
    return _MARGIN + column * (_WIDTH + _GAP_X)


def _layers(graph: Graph) -> dict[str, int]:
    """The column of each node. Nodes of a circle, which no engine runs, come last."""
    needs = {
        node.id: {each for each in node.links().values() if each in graph.nodes and each != node.id}
        for node in graph.nodes.values()
    }
    layers: dict[str, int] = {}
    while len(layers) < len(needs):
        ready = [node for node in needs if node not in layers and needs[node] <= layers.keys()]
        ready = ready or [node for node in needs if node not in layers]
        depths = {
            node: max((layers[each] + 1 for each in needs[node] if each in layers), default=0)
            for node in ready
        }
        layers |= depths
    return layers


def _cells(
    graph: Graph, layers: dict[str, int]
) -> tuple[list[_Cell], list[list[int]], list[list[int]]]:
    """The cells, their numbers by column, and each link as the cells that it passes."""
    cells = [_Cell(node=node) for node in graph.nodes]
    at = {node: number for number, node in enumerate(graph.nodes)}
    columns: list[list[int]] = [[] for _ in range(max(layers.values(), default=-1) + 1)]
    for node, number in at.items():
        columns[layers[node]].append(number)
    routes = []
    pairs = {
        (source, node.id): None
        for node in graph.nodes.values()
        for source in node.links().values()
        if source in at and layers[source] < layers[node.id]
    }
    for source, target in pairs:
        route = [at[source]]
        for column in range(layers[source] + 1, layers[target]):
            columns[column].append(len(cells))
            route.append(len(cells))
            cells.append(_Cell(node=None))
        route.append(at[target])
        for one, other in pairwise(route):
            cells[one].after.append(other)
            cells[other].before.append(one)
        routes.append(route)
    return cells, columns, routes


def _arrange(cells: list[_Cell], columns: list[list[int]]) -> None:
    """Orders each column by its neighbours, so that few links cross, and gives each cell its y."""
    for column in columns:
        _stack(cells, column)
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        for column in columns if forward else columns[::-1]:
            for each in column:
                cell = cells[each]
                others = (cell.before if forward else cell.after) or cell.before or cell.after
                if others:
                    cell.y = sum(cells[other].y for other in others) / len(others)
            column.sort(key=lambda each: cells[each].y)
            _stack(cells, column)
    top = min((cell.y for cell in cells), default=0)
    for cell in cells:
        cell.y -= top


def _stack(cells: list[_Cell], column: list[int]) -> None:
    """Moves the cells of a column apart, around where they want to be."""
    if not column:
        return
    wanted = sum(cells[each].y for each in column) / len(column)
    y = 0.0
    for each in column:
        cells[each].y = max(cells[each].y, y)
        y = cells[each].y + _GAP_Y + (_HEIGHT if cells[each].node is not None else 0)
    # Back to the middle of where they wanted to be.
    shift = wanted - sum(cells[each].y for each in column) / len(column)
    for each in column:
        cells[each].y += shift


def _path(points: list[tuple[int, float]]) -> str:
    """A curve from the right side of the first cell to the left side of the last."""
    (x, y), *rest = points
    half = _HEIGHT / 2
    drawn = [f"M{x + _WIDTH} {y + half:.0f}"]
    for number, (next_x, next_y) in enumerate(rest):
        end, rise = next_y + half, f"{next_y - y:.0f}"
        bend = f"{_GAP_X / 2:.0f}"
        drawn.append(f"c{bend} 0 {bend} {rise} {_GAP_X} {rise}")
        if number < len(rest) - 1:
            drawn.append(f"L{next_x + _WIDTH} {end:.0f}")
        y = next_y
    return "".join(drawn)


def _box(node: GraphNode, state: State, *, is_replaced: bool) -> Element:
    name = node.title or node.class_type
    below = f"{node.id} · {node.class_type}" if node.title else node.id
    said = f"{node.class_type}, node {node.id}: {_LABELS[state]}"
    # An inner drawing cuts off what is wider than it.
    box = element("svg", {"class": f"node {state}", "width": str(_WIDTH), "height": str(_HEIGHT)})
    box.append(element("title", None, f"{said}; it was replaced" if is_replaced else said))
    size = {"width": str(_WIDTH - 2), "height": str(_HEIGHT - 2), "x": "1", "y": "1", "rx": "8"}
    box.append(element("rect", {"class": "box", **size}))
    box.append(
        element(
            "text",
            {"x": "12", "y": "22", "class": "name"},
            _cut(name, _LETTERS - (2 if state == "differs" else 0)),
        )
    )
    box.append(
        element("text", {"x": "12", "y": "40"}, _cut(below, _LETTERS + (-6 if is_replaced else 4)))
    )
    if state == "differs":
        add(box, element("text", {"class": "mark", "x": str(_WIDTH - 12), "y": "22"}, "≠"))
    if is_replaced:
        add(box, element("text", {"class": "new", "x": str(_WIDTH - 12), "y": "40"}, "replaced"))
    return box


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"
