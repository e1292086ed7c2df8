from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from comfy_files.json_faults import faults_in_words


def _even(number: int) -> int:
    if number % 2:
        raise ValueError("must be even")
    return number


class Corner(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    x: Annotated[int, Field(ge=0), AfterValidator(_even)] = 0
    name: str = ""
    style: Literal["round", "sharp"] = "round"
    labels: tuple[str, ...] = ()
    width: Annotated[float, Field(multiple_of=0.5)] = 1.0


class Shape(BaseModel):
    sides: list[Corner]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "'sides' is missing"),
        ({"sides": {}}, "'sides' must be a list in square brackets, not an object"),
        ({"sides": [{"y": 1}]}, "'sides[0].y' is not a known key"),
        ({"sides": [{"x": "1"}]}, "'sides[0].x' must be a whole number, not text"),
        ({"sides": [{"x": -1}]}, "'sides[0].x' must be at least 0"),
        ({"sides": [{"x": 3}]}, "'sides[0].x' must be even"),
        (
            {"sides": [{"name": None}]},
            "'sides[0].name' must be text in double quotes, not null",
        ),
        ({"sides": [{"style": "odd"}]}, "'sides[0].style' must be 'round' or 'sharp'"),
        ({"sides": [{"width": 0.3}]}, "'sides[0].width' must be a multiple of 0.5"),
        ([], "it must be an object in braces, not a list"),
        (
            {"sides": [{"x": -1}, {"y": 1}]},
            "'sides[0].x' must be at least 0; 'sides[1].y' is not a known key",
        ),
        (
            {"sides": [{"x": -1}] * 12},
            "; ".join([f"'sides[{n}].x' must be at least 0" for n in range(10)] + ["and 2 more"]),
        ),
    ],
)
def test_faults_are_in_plain_words_with_the_paths_of_their_keys(document: Any, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Shape.model_validate(document)
    assert faults_in_words(caught.value) == words
