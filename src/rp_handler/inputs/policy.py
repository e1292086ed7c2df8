"""What a worker accepts of a job's files: how many bytes, from where, and how long it waits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from comfy_errors import InvalidInputError
from rp_handler.variables import flag

_MB = 1_000_000
PRIVATE = "COMFY_INPUT_PRIVATE_ADDRESSES"
FILE_MB = "COMFY_INPUT_FILE_MB"
TOTAL_MB = "COMFY_INPUT_TOTAL_MB"
_TIMEOUT_S = "COMFY_INPUT_TIMEOUT_S"


@dataclass(frozen=True, kw_only=True)
class InputPolicy:
    """`file_bytes` and `total_bytes` are the most that a file and a job may have; a server that
    sends nothing for `silence_s` seconds is given up.
    """

    file_bytes: int = 1000 * _MB
    total_bytes: int = 4000 * _MB
    silence_s: float = 30.0
    allows_private: bool = False


def input_policy(variables: Mapping[str, str]) -> InputPolicy:
    """The policy that the environment's variables set. Raises InvalidInputError."""
    default = InputPolicy()
    return InputPolicy(
        file_bytes=round(positive_number(variables, FILE_MB, default.file_bytes / _MB) * _MB),
        total_bytes=round(positive_number(variables, TOTAL_MB, default.total_bytes / _MB) * _MB),
        silence_s=positive_number(variables, _TIMEOUT_S, default.silence_s),
        allows_private=flag(variables, PRIVATE, default=False),
    )


def positive_number(variables: Mapping[str, str], name: str, default: float) -> float:
    """The number above 0 that a variable has. Raises InvalidInputError."""
    text = variables.get(name) or str(default)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise InvalidInputError(f'{name} is "{text}".', remedy="Set it to a number above 0.")
    return number
