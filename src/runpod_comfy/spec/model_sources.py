"""The `source` of a model: a URL with a known scheme, an address of a page, or a path.

The messages are ends of sentences that start with the key, as in `values`.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import AfterValidator

from comfy_files.inner_path import check_path_length
from comfy_http.redaction import SECRET_PARAMETER
from comfy_models.sources.buckets.address import BUCKET_SCHEMES, bucket_and_key
from comfy_models.sources.civitai_address import is_civitai_address, parse_civitai_address
from comfy_models.sources.hub_address import HubAddress, is_hub_address, parse_hub_address
from runpod_comfy.spec.values import check_local_path, check_plain

_WEB_SCHEMES = ("http", "https")
_SCHEMES = (*_WEB_SCHEMES, "file", *BUCKET_SCHEMES, "hf", "huggingface", "civitai")
# Of AIR names, `urn:air:…`, which have no slashes.
_NAME_SCHEME = "urn"
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]+[A-Za-z0-9]")
# As gsutil writes an older version of an object.
_GENERATION = re.compile(r"#[0-9]+$")


def source_scheme(source: str) -> str:
    """The scheme of a model's source in lower case, or '' for a plain path."""
    match = _SCHEME.match(source)
    return match[1].lower() if match else ""


def source_file_name(source: str) -> str:
    """The name of the file or folder that a valid source names; '' if it does not name any, as
    those of Civitai.
    """
    if is_civitai_address(source):
        return ""
    if is_hub_address(source):
        return parse_hub_address(source).name
    scheme = source_scheme(source)
    if scheme in BUCKET_SCHEMES:
        path = bucket_and_key(source)[1]
    else:
        path = unquote(urlsplit(source).path) if scheme else source
    return PurePosixPath(path).name


def hub_folder(source: str) -> HubAddress | None:
    """The folder of the Hub that a valid source names, None for a file."""
    address = parse_hub_address(source) if is_hub_address(source) else None
    return address if address and address.is_folder else None


def _check_address(value: str) -> str:
    check_plain(value)
    try:
        parts = urlsplit(value)
    except ValueError as error:
        raise ValueError("is not a valid URL") from error
    _refuse_token(value)
    scheme = source_scheme(value)
    _refuse_user(scheme, value)
    if scheme in _WEB_SCHEMES and "#" in value:
        raise ValueError("must not have a '#' part, which no server gets; write '%23' in a name")
    if scheme == "":
        check_local_path(value)
    elif scheme not in (*_SCHEMES, _NAME_SCHEME):
        raise ValueError(
            f"has the unknown scheme '{scheme}:'; known are {', '.join(_SCHEMES)}, urn:air, "
            "and plain paths"
        )
    elif "://" not in value and scheme not in ("file", _NAME_SCHEME):
        raise ValueError(f"must have two slashes after its scheme: '{scheme}://…'")
    elif scheme == "file" and parts.netloc not in ("", "localhost"):
        raise ValueError("must name a file of this machine: 'file:///' and its path")
    elif scheme == "file":
        check_path_length(unquote(parts.path))
    elif is_hub_address(value):
        parse_hub_address(value)
    elif is_civitai_address(value):
        parse_civitai_address(value)
    elif scheme in BUCKET_SCHEMES:
        _check_object(scheme, value)
    elif scheme in _WEB_SCHEMES:
        _check_web_file(scheme, parts)
    return value


def _refuse_user(scheme: str, value: str) -> None:
    if scheme in ("", "file") or "@" not in value.partition("://")[2].split("/", 1)[0]:
        return
    raise ValueError("must not contain a user name or token; set the token variables")


def _refuse_token(value: str) -> None:
    if not re.search(SECRET_PARAMETER, value, re.IGNORECASE):
        return
    if is_hub_address(value):
        instead = "set the variable HF_TOKEN"
    elif is_civitai_address(value):
        instead = "set the variable CIVITAI_TOKEN"
    elif re.search(r"[?&#]X-Amz-", value, re.IGNORECASE):
        instead = "write 's3://BUCKET/KEY', and set AWS_ACCESS_KEY_ID and the like"
    elif re.search(r"[?&#](X-Goog-|GoogleAccessId=)", value, re.IGNORECASE):
        instead = "write 'gs://BUCKET/FILE', and set GOOGLE_APPLICATION_CREDENTIALS"
    else:
        instead = "put logins in ~/.netrc"
    raise ValueError(f"must not contain a token or signature; {instead}")


def _check_object(scheme: str, value: str) -> None:
    bucket, key = bucket_and_key(value)
    if not _BUCKET.fullmatch(bucket) or not PurePosixPath(key).name or key.endswith("/"):
        raise ValueError(f"must name a file in a bucket: '{scheme}://BUCKET/FILE'")
    if scheme == "gs" and _GENERATION.search(key):
        raise ValueError("must not name a generation after '#': resolve pins the newest one")


def _check_web_file(scheme: str, parts: SplitResult) -> None:
    try:
        # A port that is no number, or too large, is only noticed here.
        has_host = bool(re.fullmatch(r"\S+", parts.hostname or "")) and parts.port != 0
    except ValueError:
        has_host = False
    has_file = bool(parts.path.strip("/") or parts.query)
    if not (has_host and has_file):
        raise ValueError(f"must name a host and a file: '{scheme}://HOST/FILE'")


SourceAddress = Annotated[str, AfterValidator(_check_address)]
