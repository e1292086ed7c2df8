"""A network volume, which RunPod's S3 service shows as a bucket.

https://docs.runpod.io/storage/s3-api says which data centers have it, and what it lacks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from comfy_errors import InvalidInputError
from comfy_models.sources.hosts import endpoint_of

ENDPOINT = "RUNPOD_S3_URL"
"""The variable with another address of the S3 service, for all data centers."""

_NAMED = re.compile(r"(?P<data_center>[A-Za-z]{2,4}(?:-[A-Za-z0-9]{1,4}){1,3})/(?P<id>[a-z0-9]+)")


@dataclass(frozen=True, kw_only=True)
class Volume:
    """`data_center` is in capitals, `endpoint` is the URL of its S3 service."""

    id: str
    data_center: str
    endpoint: str

    def __str__(self) -> str:
        return f"{self.data_center}/{self.id}"


def volume_named(text: str, variables: Mapping[str, str]) -> Volume:
    """The volume of `DATACENTER/ID`, such as `EU-RO-1/4jw1fcocwl`.

    Raises InvalidInputError.
    """
    named = _NAMED.fullmatch(text)
    if named is None:
        raise InvalidInputError(
            f"'{text}' does not name a volume",
            remedy="Write its data center and its id, for example EU-RO-1/4jw1fcocwl. RunPod's "
            "console shows both under Storage.",
        )
    data_center = named["data_center"]
    usual = f"https://s3api-{data_center.lower()}.runpod.io"
    endpoint = endpoint_of(variables, ENDPOINT, usual)
    return Volume(id=named["id"], data_center=data_center.upper(), endpoint=endpoint)
