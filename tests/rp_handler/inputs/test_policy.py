from __future__ import annotations

import pytest

from comfy_errors import InvalidInputError
from rp_handler.inputs.policy import InputPolicy, input_policy


def test_the_variables_set_the_policy() -> None:
    variables = {
        "COMFY_INPUT_FILE_MB": "1.5",
        "COMFY_INPUT_TOTAL_MB": "20",
        "COMFY_INPUT_TIMEOUT_S": "7",
        "COMFY_INPUT_PRIVATE_ADDRESSES": "1",
    }
    assert input_policy(variables) == InputPolicy(
        file_bytes=1_500_000, total_bytes=20_000_000, silence_s=7, allows_private=True
    )


def test_without_variables_private_addresses_are_refused() -> None:
    assert input_policy({"COMFY_INPUT_FILE_MB": ""}) == InputPolicy()
    assert not InputPolicy().allows_private


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("COMFY_INPUT_FILE_MB", "big"), ("COMFY_INPUT_TOTAL_MB", "0")),
        *(("COMFY_INPUT_TIMEOUT_S", "inf"), ("COMFY_INPUT_PRIVATE_ADDRESSES", "maybe")),
    ],
)
def test_another_value_is_refused_by_the_name_of_its_variable(name: str, value: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{name} is ['\"]{value}") as caught:
        input_policy({name: value})
    assert caught.value.remedy.startswith("Set ")
