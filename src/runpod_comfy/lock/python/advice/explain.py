"""The error for requirements that cannot be pinned or have no solution: everything that is wrong,
and one set of overrides that settles all of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from comfy_errors import ComfyError, InvalidInputError, OperationFailedError, UnavailableError
from comfy_errors.names import as_options, listed, nearest
from runpod_comfy.lock.python.advice.conflict import (
    Conflict,
    DeadEnds,
    Oracle,
    conflicts_in,
    dead_ends,
    named,
)
from runpod_comfy.lock.python.advice.offer import replaced_in, replacements_for
from runpod_comfy.lock.python.advice.reason import (
    fault_of_one_line,
    in_words,
    is_not_cached,
    needed_python,
)
from runpod_comfy.lock.python.advice.together import kept_together, unmet
from runpod_comfy.lock.python.torch_family import FAMILY
from runpod_comfy.lock.python.uv_compile import NEVER, Solved, names_in, undated_files
from runpod_comfy.lock.python.uv_request import CompileRequest, NoSolutionError, UnbuiltError
from runpod_comfy.lock.requirements.read import (
    SPEC,
    RefusedLine,
    RequirementLine,
    name_of,
    refused_message,
)
from runpod_comfy.sources.index.pip_settings import read_index_settings

# How often what remains under the offered overrides is looked at.
_MOST_ROUNDS = 3

_NO_OFFER = (
    "No override was found that solves it: use other versions of the nodes involved, "
    "or change 'options.constraints' and 'options.overrides' in the spec."
)
_ANOTHER = "another version of that node, or a copy of it in a folder, without the line."
_FROM_A_REPOSITORY = (
    "To have it from a repository, build its wheel (pip wheel --no-deps 'git+https://…'), add the "
    "wheel's folder to pip's find-links, and override it with its name alone."
)
_CONSTRAINTS = "options.constraints["
# Names that no index has, by uv's explanation.
_UNKNOWN = re.compile(
    r"\b([a-z0-9][a-z0-9._-]*) was not found in the (?:package registry|provided)"
)


@dataclass(frozen=True, kw_only=True)
class Question:
    """`request` has the lines that can be pinned, and the spec's overrides; `refused` has the rest.

    `solve_with` reads and solves everything with other overrides and more constraints, and builds
    no sdist.
    """

    request: CompileRequest
    refused: Sequence[RefusedLine]
    solve_with: Callable[[Sequence[str], Sequence[str]], Solved]


@dataclass(kw_only=True)
class _Answer:
    """`offered` are overrides to add to the spec's, `constraints` go with them, and `solved` is the
    solution with both. `why` has the reasons for names of repositories that are left out.
    `hidden` is an error that only the overrides bring to light. `known` are names of distributions
    that exist.
    """

    offered: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    ends: DeadEnds | None = None
    conflicts: list[Conflict] = field(default_factory=list)
    solved: Solved | None = None
    hidden: ComfyError | None = None
    known: set[str] = field(default_factory=set)
    why: dict[str, str] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """True if there is an override for everything that is wrong."""
        return all(each.override for each in self.conflicts)


def explained(question: Question, found: Solved | NoSolutionError) -> ComfyError:
    """The error that says what is wrong, and how to settle it.

    `found` is the solution of the lines that can be pinned, or why there is none.
    """
    oracle, request = Oracle(), question.request
    error = found if isinstance(found, NoSolutionError) else None
    solved = found.solution.versions if isinstance(found, Solved) else ()
    if error and (fault := _not_of_the_lines(oracle, error, request)):
        return fault
    replacements = replacements_for(question.refused, request, solved)
    answer = _Answer(
        offered=[each.override for each in replacements.values()],
        why={name: each.why for name, each in replacements.items()},
        known=names_in(error.account) if error else set(),
    )
    try:
        _find(answer, question, error, oracle)
    except UnbuiltError as unbuilt:
        oracle.unbuilt.add(unbuilt.release)
    except ComfyError as hidden:
        answer.hidden = hidden
    return _error(answer, question, oracle)


def _find(
    answer: _Answer, question: Question, error: NoSolutionError | None, oracle: Oracle
) -> None:
    """Collects what is wrong until the overrides settle everything, or none is found that helps."""
    if error is not None:
        error = _out_of_dead_ends(answer, question, error)
    for _ in range(_MOST_ROUNDS):
        if error is not None:
            found = conflicts_in(
                error.request,
                error.reason,
                everything=question.request.requirements,
                oracle=oracle,
            )
            answer.conflicts += found
            answer.offered = replaced_in(answer.offered, [x.override for x in found if x.override])
        if not answer.is_complete or not answer.offered:
            return
        error = _tried(answer, question)
        if answer.solved is not None:
            answer.constraints, answer.solved = kept_together(
                answer.offered, answer.solved, question.request, question.solve_with
            )
            return


def _out_of_dead_ends(
    answer: _Answer, question: Question, error: NoSolutionError
) -> NoSolutionError | None:
    """The error that is left without the dead ends."""
    overrides = replaced_in(question.request.overrides, answer.offered)

    def attempt(overrides: Sequence[str]) -> NoSolutionError | None:
        try:
            question.solve_with(overrides, ())
        except NoSolutionError as another:
            return another
        return None

    request = replace(question.request, overrides=overrides, builds=False)
    answer.ends = dead_ends(error, request, attempt)
    answer.offered = replaced_in(answer.offered, [end.override for end in answer.ends.found])
    return answer.ends.rest


def _tried(answer: _Answer, question: Question) -> NoSolutionError | None:
    try:
        overrides = replaced_in(question.request.overrides, answer.offered)
        answer.solved = question.solve_with(overrides, ())
    except NoSolutionError as error:
        return error
    return None


def _error(answer: _Answer, question: Question, oracle: Oracle) -> ComfyError:
    refused, conflicts = question.refused, answer.conflicts
    problems = [refused_message(refused)] if refused else []
    problems += map(str, answer.ends.found if answer.ends else ())
    problems += [str(each) for each in conflicts if each.of_one_line]
    if together := [str(each) for each in conflicts if not each.of_one_line]:
        problems.append(f"these requirements have no common solution: {'. And: '.join(together)}")
    problems += [answer.hidden.message] if answer.hidden else []
    kinds = {InvalidInputError} if refused else {each.kind for each in conflicts}
    kind = kinds.pop() if len(kinds) == 1 else OperationFailedError
    steps = [_another_python(oracle, conflicts), _paste(answer, question)]
    if not any(steps):
        steps = [_without_offer(answer)]
    names = {line.name for line in question.request.requirements} | answer.known
    steps = [*(misspelt(each.lines, each.reason, names) for each in conflicts), *steps]
    steps += [answer.ends.dropping] if answer.ends and answer.ends.found else []
    steps += [answer.hidden.remedy] if answer.hidden else []
    if any(line.name is None for line in refused):
        steps.append(f"A line that names no distribution needs {_ANOTHER}")
    if oracle.unbuilt and answer.solved is None:
        builds = listed(sorted(oracle.unbuilt), at_most=3)
        steps.append(
            f"Not everything was tried: {builds} would have to be built to learn what it needs."
        )
    return kind(". And: ".join(problems), remedy=" ".join(filter(None, steps)))


def _paste(answer: _Answer, question: Question) -> str:
    """What to paste into the spec, and what it passes over, line by line; '' if it does not help.

    If lines cannot be pinned, it is needed even if it does not settle everything.
    """
    spec = question.request
    if not answer.offered or not (answer.solved or question.refused):
        return ""
    if any(each.is_of_the_spec for each in answer.conflicts):
        return ""
    options = {"overrides": replaced_in(spec.overrides, answer.offered)}
    if answer.constraints:
        own = [line.text for line in spec.requirements if line.place.startswith(_CONSTRAINTS)]
        options["constraints"] = [*own, *answer.constraints]
    text = f"Add to the spec: {as_options(**options)}."
    if answer.solved is None:
        return f"{text} More may remain to be settled after that."
    passed_over = unmet(
        answer.solved,
        answer.offered,
        lines=spec.requirements,
        refused=question.refused,
        why=answer.why,
    )
    if passed_over:
        text += " Then these do not get what they ask for; test whether that works:"
        text += "".join(f"\n    {each}" for each in passed_over) + "\n   "
    left_out = [each for each in answer.offered if NEVER in each]
    if left_out:
        text += " Code that imports what is left out will fail."
    if {*map(name_of, left_out)} & {line.name for line in question.refused}:
        text += f" {_FROM_A_REPOSITORY}"
    return text.strip()


def _without_offer(answer: _Answer) -> str:
    lines = [line for each in answer.conflicts for line in each.lines]
    own = [line.place for line in lines if line.place.startswith("options.")]
    if own:
        return f"Change {' and '.join(dict.fromkeys(own))} in the spec."
    return _NO_OFFER if lines else f"Use {_ANOTHER}"


def _not_of_the_lines(
    oracle: Oracle, error: NoSolutionError, request: CompileRequest
) -> ComfyError | None:
    """The error for a cause that no line is to blame for: the cache, the day, an override."""
    if request.offline and is_not_cached(error.reason):
        return _not_cached(oracle, error.request, request.requirements)
    if request.as_of and oracle.solves(replace(error.request, as_of=None)):
        return _only_later(request.as_of, error.reason)
    return _override_at_fault(oracle, error.request, request.overrides, error.reason)


def _override_at_fault(
    oracle: Oracle, request: CompileRequest, overrides: Sequence[str], reason: str
) -> ComfyError | None:
    """The error of an override of the spec that nothing satisfies: it stands in the place of every
    line about that distribution, none of which is to blame.
    """
    free = replace(request, overrides=(), held=())
    for number, text in enumerate(overrides):
        if name_of(text) not in reason:
            continue
        place = f"options.overrides[{number}]"
        line = RequirementLine(tree=SPEC, place=place, text=text, asked=text)
        if alone := oracle.ask(free, [line]):
            kind, what = fault_of_one_line(alone, request.python)
            return kind(
                f"{named([line])} {what}. {in_words(alone)}",
                remedy=f"Change or remove {place} in the spec.",
            )
    return None


def _only_later(as_of: str, reason: str) -> UnavailableError:
    """The error for a request whose solution was uploaded after the day `as_of`."""
    if undated := undated_files(reason):
        return UnavailableError(
            f"options.as_of takes only what was uploaded by {as_of}, and the index has no upload "
            f"times for {listed(undated, at_most=3)}",
            remedy="Use an index that has them (PEP 700), such as PyPI, or remove options.as_of "
            "from the spec.",
        )
    links = " Folders and find-links pages have no upload times and are ignored."
    return UnavailableError(
        f"these requirements have a solution, but not with what was uploaded by {as_of} "
        f"(options.as_of). {in_words(reason)}{links if read_index_settings().find_links else ''}",
        remedy="Set options.as_of in the spec to a later day.",
    )


def _not_cached(
    oracle: Oracle, request: CompileRequest, lines: Sequence[RequirementLine]
) -> ComfyError:
    """The error for everything that the cache lacks: offline, the whole list is needed at once.

    Each line may have an answer where all together have none: then all are named.
    """
    missing = [line for line in lines if is_not_cached(oracle.ask(request, [line]) or "")]
    return UnavailableError(
        "the cache does not have what these need, and network access is off (--offline): "
        f"{named(missing or lines)}",
        remedy="Resolve once without --offline.",
    )


def _another_python(oracle: Oracle, conflicts: Sequence[Conflict]) -> str:
    """A sentence naming a Python version under which everything has a solution, or ''."""
    if not conflicts:
        return ""
    conflict = conflicts[0]
    needed = needed_python(conflict.reason)
    if not needed and "wheels" not in conflict.reason:
        return ""
    minor = int(conflict.request.python.split(".")[1])
    for python in [needed] if needed else [f"3.{minor + step}" for step in (1, 2, -1)]:
        other = replace(conflict.request, python=python)
        if oracle.solves(other, conflict.lines) and oracle.solves(other):
            return f"With {as_options(python=python)} in the spec there is a solution."
    return ""


def misspelt(lines: Sequence[RequirementLine], reason: str, known: Collection[str]) -> str:
    """Sentences about the names in `lines` that no index has: each may be a typing error.

    `known` are names that exist, such as those of the other lines.
    """
    unknown = set(_UNKNOWN.findall(" ".join(reason.split())))
    others = {*known, *FAMILY} - unknown
    sentences = []
    for line in lines:
        if line.name in unknown:
            meant = nearest(line.name, others)
            hint = f", probably of {meant}" if meant else ""
            place = line.place or line.tree
            sentences.append(f"{line.name} may be a typing error{hint}: look at {place}.")
    return " ".join(dict.fromkeys(sentences))
