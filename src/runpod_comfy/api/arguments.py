"""Checks arguments of the Python API against the declared types."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ParamSpec, TypeVar

from pydantic import ConfigDict, Field, ValidationError, validate_call

from comfy_errors import InvalidInputError
from comfy_files.json_faults import plain_words
from runpod_comfy.api.workspace import StrPath

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""How long something may take."""


def checked(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Wraps the function so that an argument of the wrong type raises InvalidInputError."""
    strict = ConfigDict(strict=True, arbitrary_types_allowed=True, defer_build=True)
    check = validate_call(config=strict)(function)

    @functools.wraps(function)
    def call(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        try:
            return check(*args, **kwargs)
        except ValidationError as error:
            # The function itself may read an invalid document.
            if error.title != function.__name__:
                raise
            faults = "; ".join(map(_in_words, error.errors()))
            raise InvalidInputError(
                f"{function.__name__}, {faults}",
                remedy=f"help(runpod_comfy.{function.__name__}) says what it takes.",
            ) from error

    return call


def _in_words(fault: Mapping[str, Any]) -> str:
    place = fault["loc"][0]
    argument = place + 1 if isinstance(place, int) else place
    return f"argument {argument}: {plain_words(fault['msg'])}"


def as_text(argument: StrPath | Mapping[str, Any]) -> str:
    """The argument as the command line would receive it: a path as text, an object as JSON."""
    return json.dumps(dict(argument)) if isinstance(argument, Mapping) else os.fspath(argument)
