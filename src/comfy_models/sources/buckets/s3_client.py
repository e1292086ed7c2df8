"""The client of S3, or of the service behind an endpoint, with the settings of `aws`.

Those are the variables AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE,
AWS_REGION, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, and the files that `aws configure` writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from comfy_http.redaction import without_secrets
from comfy_http.settings import NetworkSettings
from comfy_models.sources.errors import AccessDeniedError
from comfy_models.sources.hosts import endpoint_of

REMEDY = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to a key with the right to do it."
_KEY = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_URLS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_AWS = "https://s3.amazonaws.com"
_FILES = {"config_file": "AWS_CONFIG_FILE", "credentials_file": "AWS_SHARED_CREDENTIALS_FILE"}


def s3_client(
    variables: Mapping[str, str],
    *,
    settings: NetworkSettings | None = None,
    endpoint: str | None = None,
    region: str | None = None,
) -> Any:
    """A client of boto3, which several threads may use. It signs nothing if there is no key.

    `endpoint` and `region` take precedence over the variables. Raises AccessDeniedError if the key
    cannot be read, InvalidInputError for an endpoint that is not one.
    """
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    settings = settings or NetworkSettings()
    core = aws_session(variables)
    try:
        place = (
            endpoint
            or next(
                (endpoint_of(variables, name, _AWS) for name in _URLS if variables.get(name)), None
            )
            or core.get_scoped_config().get("endpoint_url")
        )
        region = region or variables.get("AWS_REGION") or variables.get("AWS_DEFAULT_REGION")
        return boto3.session.Session(botocore_session=core).client(
            "s3",
            region_name=region or core.get_config_variable("region") or "us-east-1",
            endpoint_url=place,
            verify=_trust(settings, place),
            config=Config(
                signature_version="s3v4" if core.get_credentials() else UNSIGNED,
                # Other services have no host for each bucket, and not all checksums. Amazon has: by
                # default, the host would be one that may lead to another, which spoils signatures.
                s3={"addressing_style": "path" if place else "virtual"},
                request_checksum_calculation="when_required" if place else None,
                response_checksum_validation="when_required" if place else None,
                proxies=_proxies(settings),
                client_cert=settings.client_cert,
                connect_timeout=settings.timeout_s or 60,
                read_timeout=settings.timeout_s or 60,
                retries={"mode": "standard"},
            ),
        )
    except (BotoCoreError, ValueError) as error:
        raise _unusable(error) from error


def aws_session(variables: Mapping[str, str]) -> Any:
    """The session of botocore that has the key, if there is one. Raises AccessDeniedError."""
    import botocore.session
    from botocore.exceptions import BotoCoreError

    _require_whole_key(variables)
    try:
        core = botocore.session.Session(profile=variables.get("AWS_PROFILE") or None)
        for setting, variable in _FILES.items():
            if path := variables.get(variable):
                core.set_config_variable(setting, path)
        key_id, secret = (variables.get(name) for name in _KEY)
        if key_id and secret:
            core.set_credentials(key_id, secret, variables.get("AWS_SESSION_TOKEN") or None)
        # Reads the files.
        core.get_scoped_config()
    except (BotoCoreError, ValueError) as error:
        raise _unusable(error) from error
    return core


def code_of(error: Any) -> str:
    """The code of an error of the service, or the status where there is none."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _unusable(error: Exception) -> AccessDeniedError:
    return AccessDeniedError(
        f"the settings of AWS are unusable: {without_secrets(str(error))}",
        remedy="Correct the variables that start with AWS_, or the files of `aws configure`.",
    )


def _require_whole_key(variables: Mapping[str, str]) -> None:
    missing = [name for name in _KEY if not variables.get(name)]
    if len(missing) == 1:
        (other,) = {*_KEY} - {*missing}
        raise AccessDeniedError(f"{missing[0]} is not set, but {other} is", remedy=REMEDY)


def _trust(settings: NetworkSettings, endpoint: str | None) -> str | bool | None:
    """What certificates are checked with; None leaves it to AWS_CA_BUNDLE and certifi."""
    parts = urlsplit(endpoint or "")
    if {parts.hostname, parts.netloc} & set(settings.trusted_hosts):
        return False
    return settings.cert


def _proxies(settings: NetworkSettings) -> dict[str, str] | None:
    if settings.proxy is None:
        return None
    return {"http": settings.proxy, "https": settings.proxy}
