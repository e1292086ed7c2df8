"""`models` of a job's input, and what can be checked without asking a host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict

from comfy_files.inner_path import check_inner_file
from comfy_http.redaction import in_one_line
from comfy_models.formats import format_of
from comfy_models.sources.civitai_address import is_civitai_address, parse_civitai_address
from comfy_models.sources.hub_address import is_hub_address, parse_hub_address
from rp_handler.inputs.document import checked_address, is_address, sha256_digits
from rp_handler.inputs.names import is_text

_T = TypeVar("_T")

MOST_MODELS = 100
_LONGEST_SOURCE = 8192
_KNOWN = "hf://, civitai://, urn:air:, https://, http://, gs:// and s3://"
# Formats that cannot run code when they are loaded.
_SAFE_FORMATS = ("safetensors", "gguf", "onnx")
_SAFE_SUFFIXES = ".safetensors, .sft, .gguf or .onnx"


def _source(value: str) -> str:
    if len(value) > _LONGEST_SOURCE:
        raise ValueError(f"has more than {_LONGEST_SOURCE} characters")
    if not is_text(value):
        raise ValueError("has a control character or half a character")
    if is_hub_address(value):
        address = _parsed(parse_hub_address, value)
        if address.is_folder:
            raise ValueError("names a folder on the Hub, not a file")
    elif is_civitai_address(value):
        _parsed(parse_civitai_address, value)
    elif is_address(value):
        return checked_address(value)
    else:
        raise ValueError(f"is not the address of a model; it may start with {_KNOWN}")
    return value


def _parsed(parse: Callable[[str], _T], value: str) -> _T:
    try:
        return parse(value)
    except ValueError as error:
        raise ValueError(in_one_line(str(error))) from None


def _target_path(value: str) -> str:
    if not is_text(value):
        raise ValueError("has a control character or half a character")
    path = check_inner_file(value)
    if format_of(path) not in _SAFE_FORMATS:
        raise ValueError(
            f"must end in {_SAFE_SUFFIXES}: other formats can run code when they are loaded"
        )
    return path


class JobModel(BaseModel):
    """A model file: `source` is as in a spec, `target_path` is below the models folder, `sha256`
    has 64 hex digits.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", hide_input_in_errors=True)

    source: Annotated[str, AfterValidator(_source)]
    target_path: Annotated[str, AfterValidator(_target_path)]
    sha256: Annotated[str, AfterValidator(sha256_digits)] | None = None
