"""The account that reads Google Cloud Storage.

It is that of GOOGLE_APPLICATION_CREDENTIALS. Without this variable, requests have no login until
one is refused; then google.auth looks for an account, which may take seconds: of gcloud, or of the
machine in Google's cloud.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from comfy_http.errors import TransientError
from comfy_http.redaction import without_secrets
from comfy_models.sources.errors import AccessDeniedError

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

    from comfy_models.sources.hosts import Hosts

VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
REMEDY = f"Set {VARIABLE} to the key file of an account that may read it."
_SCOPES = ["https://www.googleapis.com/auth/devstorage.read_only"]


class GoogleLogin:
    """One account for all files. Several threads may use it."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._key_file = hosts.variables.get(VARIABLE, "")
        self._may_look = not hosts.variables.get("STORAGE_EMULATOR_HOST")
        self._credentials: Credentials | None = None
        self._lock = threading.Lock()

    def headers(self, refused: Mapping[str, str] | None = None) -> dict[str, str]:
        """The headers of a request, with a valid token; none without an account.

        `refused` are headers that were not accepted. Raises AccessDeniedError if the account gets
        no token, TransientError, and UnavailableError if the certificate of its server does not
        verify.
        """
        with self._lock:
            if self._credentials is None and (self._key_file or refused is not None):
                self._credentials = self._found()
            if self._credentials is None:
                return {}
            headers = self._applied(self._credentials)
            if headers == refused:
                self._refresh(self._credentials)
                headers = self._applied(self._credentials)
            return headers

    def _applied(self, credentials: Credentials) -> dict[str, str]:
        if not credentials.valid:
            self._refresh(credentials)
        headers: dict[str, str] = {}
        # Also who pays, if the account says so.
        credentials.apply(headers)
        return headers

    def _found(self) -> Credentials | None:
        found: Credentials
        from google import auth
        from google.auth.exceptions import DefaultCredentialsError

        try:
            if self._key_file:
                found = auth.load_credentials_from_file(self._key_file, scopes=_SCOPES)[0]
                return found
            if self._may_look:
                found = auth.default(scopes=_SCOPES, request=self._request())[0]
                return found
        except DefaultCredentialsError as error:
            if self._key_file:
                raise AccessDeniedError(
                    f"{VARIABLE} is '{self._key_file}', which is not a key file: "
                    f"{without_secrets(str(error.args[0]))}",
                    remedy=REMEDY,
                ) from error
        self._may_look = False
        return None

    def _refresh(self, credentials: Credentials) -> None:
        from google.auth.exceptions import GoogleAuthError, TransportError

        from comfy_http.reasons import certificate_fault, reason_of

        try:
            credentials.refresh(self._request())
        except TransportError as error:
            if certificate_fault(error) is not None:
                raise self._hosts.client.unreachable("Google's token server", error) from error
            why = reason_of(error, self._hosts.timeout_s)
            raise TransientError(
                f"Google gives no token: {without_secrets(why)}",
                remedy=self._hosts.client.remedy,
            ) from error
        except GoogleAuthError as error:
            # The further arguments are the whole answer.
            raise AccessDeniedError(
                f"Google gives no token to the account of {self._key_file or 'this machine'}: "
                f"{without_secrets(str(error.args[0]))}",
                remedy=REMEDY,
            ) from error

    def _request(self) -> Any:
        from functools import partial

        from google.auth.transport.requests import Request

        client = self._hosts.client
        return partial(Request(self._hosts.session), verify=client.settings.cert)
