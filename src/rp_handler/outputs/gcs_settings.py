"""How outputs go to Google Cloud Storage, from the variables of docs/environment.md.

Faults in them are found here, before anything starts; this needs no network and not Google's
client.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfy_errors import InvalidInputError, UnavailableError
from comfy_files.files import os_reason
from comfy_files.user_paths import expanded
from comfy_home.output_modes import BY_VARIABLE
from rp_handler.outputs.names import DEFAULT_PREFIX
from rp_handler.variables import flag, number_between, prefix, whole

KEY_FILE, KEY = "GOOGLE_APPLICATION_CREDENTIALS", "GCS_CREDENTIALS_JSON"
SET_KEY = (
    f"Set {KEY_FILE} to the path of a service account's key file, or {KEY} to what is in the file."
)
VARIABLES = (
    *("GCS_BUCKET", "GCS_PROJECT", "GOOGLE_CLOUD_PROJECT", "GCS_PREFIX", "GCS_RETRIES"),
    *("GCS_RETRY_BASE_SLEEP", "GCS_PUBLIC", "GCS_SIGNED_URL_TTL", "GCS_VALIDATE", KEY_FILE, KEY),
    "STORAGE_EMULATOR_HOST",
)
# https://cloud.google.com/storage/docs/buckets#naming
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
# A signature of version 4 is valid for at most a week.
_LONGEST_TTL_S = 7 * 24 * 3600


@dataclass(frozen=True, kw_only=True)
class GcsSettings:
    """`retries` is the number of attempts, `retry_base_sleep_s` the wait after the first.
    `signed_url_ttl_s` is 0 for no signed URLs. `key` is a service account's, None for the
    account that Google's library finds. `endpoint` is None for Google's.
    """

    bucket: str
    project: str | None
    prefix: str
    retries: int
    retry_base_sleep_s: float
    is_public: bool
    signed_url_ttl_s: int
    validates: bool
    key: Mapping[str, Any] | None = field(repr=False)
    endpoint: str | None

    @staticmethod
    def of(environment: Mapping[str, str], *, instead: str = BY_VARIABLE) -> GcsSettings:
        """Raises InvalidInputError, which names `instead` as the way without a bucket, and
        UnavailableError for a key file that cannot be read.
        """
        given = {name: text for name in VARIABLES if (text := environment.get(name, "").strip())}
        emulator = given.get("STORAGE_EMULATOR_HOST", "").rstrip("/")
        if emulator and "://" not in emulator:
            emulator = f"http://{emulator}"
        return GcsSettings(
            bucket=_bucket(given.get("GCS_BUCKET", ""), instead),
            project=given.get("GCS_PROJECT") or given.get("GOOGLE_CLOUD_PROJECT"),
            prefix=prefix(given, "GCS_PREFIX", default=DEFAULT_PREFIX),
            retries=whole(given, "GCS_RETRIES", default=3, least=1, most=100),
            retry_base_sleep_s=number_between(
                given, "GCS_RETRY_BASE_SLEEP", default=0.5, least=0, most=3600
            ),
            is_public=flag(given, "GCS_PUBLIC", default=False),
            signed_url_ttl_s=whole(
                given, "GCS_SIGNED_URL_TTL", default=0, least=0, most=_LONGEST_TTL_S
            ),
            validates=flag(given, "GCS_VALIDATE", default=True),
            key=_key(given),
            endpoint=emulator or None,
        )


def _bucket(name: str, instead: str) -> str:
    if not name:
        raise InvalidInputError(
            "outputs go to Google Cloud Storage, but GCS_BUCKET is not set",
            remedy=f"Set GCS_BUCKET and {KEY_FILE}, or {instead} to have the outputs in the result "
            "itself.",
        )
    if not _BUCKET.fullmatch(name):
        raise InvalidInputError(
            f"GCS_BUCKET is '{name}', which is not the name of a bucket",
            remedy="Set it to the name alone, such as my-bucket; GCS_PREFIX is for folders in it.",
        )
    return name


def _key(given: Mapping[str, str]) -> Mapping[str, Any] | None:
    if KEY in given:
        place, text = KEY, given[KEY]
    elif KEY_FILE in given:
        path = expanded(Path(given[KEY_FILE]))
        place = f"{KEY_FILE} is {path}, but it"
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise UnavailableError(
                f"{KEY_FILE} names a file that cannot be read: {os_reason(error)}",
                remedy=f"{SET_KEY} A container sees only files that are mounted into it.",
            ) from error
        except UnicodeDecodeError:
            text = ""
    else:
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    # What it holds is never repeated, also not in the cause of this error.
    kind = document.get("type") if isinstance(document, dict) else None
    if not isinstance(kind, str) or (kind != "service_account" and KEY in given):
        raise InvalidInputError(
            f"{place} is not the JSON of a service account's key", remedy=SET_KEY
        )
    # Google's own library reads files of other kinds, such as those of workload identity.
    return document if kind == "service_account" else None
