"""Sends outputs to Google Cloud Storage, with Google's own client.

An object has the name that its job gives it, so that a job or an upload that is repeated makes no
second one.
"""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import google.auth
import requests
from google.api_core.exceptions import (
    BadRequest,
    Forbidden,
    GoogleAPICallError,
    PreconditionFailed,
)
from google.auth.credentials import AnonymousCredentials, Signing
from google.auth.exceptions import GoogleAuthError, TransportError
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption
from google.oauth2 import service_account

from comfy_errors import ComfyError, InvalidInputError, UnavailableError
from comfy_files.parallel import end_if_interrupted
from comfy_files.progress import Say
from comfy_http.reasons import reason_of
from comfy_http.redaction import in_one_line
from comfy_http.retries import pause
from rp_handler.errors import OutputUploadError
from rp_handler.outputs.gcs_settings import SET_KEY, GcsSettings

_T = TypeVar("_T")

# Also how long it may take to send a piece.
_SILENCE_S = 120
# Of a file that is sent in pieces, which are held in memory.
_PIECE_BYTES = 8 << 20
_LONGEST_SLEEP_S = 60.0
_PASSING = (408, 429, 500, 502, 503, 504)
_DENIED = (401, 403)


class GcsBucket:
    """The bucket that outputs go to. Several threads may use it."""

    def __init__(self, settings: GcsSettings, *, explain: Say) -> None:
        """`explain` gets signed URLs. Raises InvalidInputError, and UnavailableError without an
        account.
        """
        self.settings, self.prefix = settings, settings.prefix
        self._explain = explain
        self._account = _account(settings)
        if settings.signed_url_ttl_s and not isinstance(self._account, Signing):
            raise InvalidInputError(
                "GCS_SIGNED_URL_TTL is set, but this account has no key to sign URLs with",
                remedy=f"{SET_KEY} Or unset GCS_SIGNED_URL_TTL.",
            )
        self._bucket = storage.Client(
            project=settings.project,
            credentials=self._account,
            client_options={"api_endpoint": settings.endpoint} if settings.endpoint else None,
        ).bucket(settings.bucket)

    def require(self) -> None:
        """Raises UnavailableError if the bucket is not there, or the account may not write to it,
        and InvalidInputError if the objects of the bucket cannot be public.
        """
        wanted = ["storage.objects.create"]
        if self.settings.signed_url_ttl_s:
            # A signed URL gives the rights of its account.
            wanted.append("storage.objects.get")
        place = f"gs://{self.settings.bucket}"
        granted = self._answer(
            lambda: self._bucket.test_iam_permissions(wanted, timeout=_SILENCE_S, retry=None), place
        )
        if missing := [it for it in wanted if it not in granted]:
            raise self._refused(place, f"it lacks {' and '.join(missing)}")
        if self.settings.is_public:
            self._require_acls(place)

    def upload(self, path: Path, name: str, mime: str) -> dict[str, Any]:
        """Sends the file at `path`. Returns how to reach the object.

        An equal object of that name, of an earlier attempt, is left as it is. Raises
        OutputUploadError, and OSError for the file.
        """
        uri = f"gs://{self.settings.bucket}/{name}"
        blob = self._bucket.blob(name, chunk_size=_PIECE_BYTES)
        try:
            self._answer(lambda: self._send(path, blob, mime), uri)
        except ComfyError as error:
            raise OutputUploadError(
                error.message, remedy=error.remedy, details={"uri": uri}
            ) from error
        return {"type": "gcs", "uri": uri, **self._url(blob, uri)}

    def _send(self, path: Path, blob: Any, mime: str) -> None:
        generation = 0
        for is_last in (False, True):
            try:
                with path.open("rb") as file:
                    blob.upload_from_file(
                        _Interruptible(file),
                        size=path.stat().st_size,
                        content_type=mime,
                        predefined_acl="publicRead" if self.settings.is_public else None,
                        if_generation_match=generation,
                        # The service refuses bytes that do not have this checksum.
                        checksum="auto",
                        timeout=_SILENCE_S,
                        retry=None,
                    )
                return
            except PreconditionFailed:
                found = self._bucket.get_blob(blob.name, timeout=_SILENCE_S, retry=None)
                if found is not None and found.md5_hash == _md5(path):
                    return
                if is_last:
                    raise
                generation = found.generation if found is not None else 0

    def _url(self, blob: Any, uri: str) -> dict[str, str]:
        if self.settings.signed_url_ttl_s:
            url = blob.generate_signed_url(
                version="v4", expiration=timedelta(seconds=self.settings.signed_url_ttl_s)
            )
            self._explain(f"{uri} can be read for {self.settings.signed_url_ttl_s} s at {url}")
            return {"url": url}
        return {"url": blob.public_url} if self.settings.is_public else {}

    def _require_acls(self, place: str) -> None:
        try:
            self._bucket.reload(timeout=_SILENCE_S, retry=None)
        except Forbidden:
            # The right to write objects does not include this one.
            return
        except Exception as error:
            raise self._failure(error, place) from error
        rules = self._bucket.iam_configuration
        if rules.uniform_bucket_level_access_enabled or (
            rules.public_access_prevention == "enforced"
        ):
            raise InvalidInputError(
                f"GCS_PUBLIC is set, but {place} allows no access control lists of objects",
                remedy="Unset GCS_PUBLIC, and make the whole bucket public or set "
                "GCS_SIGNED_URL_TTL; or give the bucket fine-grained access control.",
            )

    def _answer(self, work: Callable[[], _T], place: str) -> _T:
        """The result of `work`, which is repeated after errors that pass."""
        for attempt in range(1, self.settings.retries + 1):
            try:
                return work()
            except Exception as error:
                if isinstance(error, OSError) and not _is_of_network(error):
                    raise
                if attempt == self.settings.retries or not _may_pass(error):
                    raise self._failure(error, place, attempts=attempt) from error
            sleep_s = min(self.settings.retry_base_sleep_s * 2.0 ** (attempt - 1), _LONGEST_SLEEP_S)
            # Not all workers at the same moment.
            pause(sleep_s * random.uniform(1, 1.25))
        raise AssertionError

    def _failure(self, error: Exception, place: str, *, attempts: int = 1) -> ComfyError:
        """`error` of Google's client as one of ours."""
        often = f" ({attempts} attempts)" if attempts > 1 else ""
        if isinstance(error, GoogleAPICallError):
            reason = _told(error)
            if error.code in _DENIED:
                return self._refused(place, reason)
            if error.code == 404:
                return UnavailableError(
                    f"the bucket {self.settings.bucket} is not there: {reason}",
                    remedy="Create it, or correct GCS_BUCKET.",
                )
            return UnavailableError(
                f"{place} cannot be written{often}: {reason}",
                remedy="Try again later; GCS_RETRIES and GCS_RETRY_BASE_SLEEP give it more time.",
            )
        if isinstance(error, GoogleAuthError) and not isinstance(error, TransportError):
            if isinstance(self._account, AnonymousCredentials):
                return self._refused(place, "")
            # The further arguments are the whole answer.
            return UnavailableError(
                f"Google gives no token for {place}: {in_one_line(str(error.args[0]))}",
                remedy=SET_KEY,
            )
        return UnavailableError(
            f"{place} cannot be reached{often}: {in_one_line(reason_of(error, _SILENCE_S))}",
            remedy="Check the network of this machine, its proxy, and STORAGE_EMULATOR_HOST.",
        )

    def _refused(self, place: str, reason: str) -> UnavailableError:
        if isinstance(self._account, AnonymousCredentials):
            return UnavailableError(
                f"{place} needs an account that may write to it", remedy=SET_KEY
            )
        account = getattr(self._account, "service_account_email", None) or "this account"
        return UnavailableError(
            f"{account} may not write to {place}: {reason}",
            remedy="Give it the role Storage Object User (roles/storage.objectUser) on the bucket, "
            f"or use another account. {SET_KEY}",
        )


class _Interruptible:
    """A file that can be read until the work of this thread is cancelled."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        end_if_interrupted()
        return self._file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _account(settings: GcsSettings) -> Any:
    """The credentials. Raises InvalidInputError for a broken key, UnavailableError for none."""
    try:
        if settings.key is not None:
            return service_account.Credentials.from_service_account_info(settings.key)
        if settings.endpoint is not None:
            return AnonymousCredentials()
        return google.auth.default()[0]
    except (GoogleAuthError, ValueError, KeyError, TypeError):
        if settings.key is None:
            raise UnavailableError(
                f"there is no Google account to write to gs://{settings.bucket} with",
                remedy=SET_KEY,
            ) from None
        # What the key holds must not be in a message.
        raise InvalidInputError("the key for Google Cloud is not valid", remedy=SET_KEY) from None


def _is_of_network(error: OSError) -> bool:
    return isinstance(error, requests.RequestException | ConnectionError | TimeoutError)


def _may_pass(error: Exception) -> bool:
    if isinstance(error, BadRequest):
        # Bytes that were damaged on their way.
        return any(word in _told(error).lower() for word in ("crc32c", "md5", "checksum"))
    if isinstance(error, GoogleAPICallError):
        return error.code in _PASSING or isinstance(error, PreconditionFailed)
    if isinstance(error, GoogleAuthError):
        return isinstance(error, TransportError) or bool(error.retryable)
    return isinstance(error, DataCorruption) or (
        isinstance(error, OSError) and _is_of_network(error)
    )


def _told(error: Any) -> str:
    """What the service says, without the address of the request, which has the upload's id."""
    try:
        text = error.response.json()["error"]["message"]
    except (AttributeError, ValueError, KeyError, TypeError):
        text = f"it answered {error.code}"
    return in_one_line(str(text)).rstrip(". ")


def _md5(path: Path) -> str:
    """As the API has it."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).digest()
    return base64.b64encode(digest).decode()
