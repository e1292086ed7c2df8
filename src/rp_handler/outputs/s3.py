"""Sends outputs to S3, or to a compatible service, with boto3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError

from comfy_errors import ComfyError, InvalidInputError, UnavailableError
from comfy_files.parallel import end_if_interrupted
from comfy_http.guarded import PrivateAddressError
from comfy_http.redaction import in_one_line
from comfy_models.sources.buckets.s3_client import code_of, s3_client
from rp_handler.errors import OutputUploadError
from rp_handler.inputs.policy import PRIVATE
from rp_handler.outputs.job_s3 import connect_only_to_public
from rp_handler.outputs.s3_settings import ENDPOINT, SHAPES, S3Settings

# As long as worker-comfyui's, and as long as a signature can be valid.
_URL_TTL_S = 7 * 24 * 3600
# Smaller files are one request.
_PART_BYTES = 64 << 20
_GONE = ("404", "NoSuchBucket", "NotFound")
_BAD_KEY = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "401", "Unauthorized")


class S3Bucket:
    """The bucket that outputs go to. Several threads may use it."""

    def __init__(self, settings: S3Settings) -> None:
        self.settings, self.prefix = settings, settings.prefix
        self._client = s3_client(
            {
                "AWS_ACCESS_KEY_ID": settings.key_id,
                "AWS_SECRET_ACCESS_KEY": settings.secret,
            },
            endpoint=settings.endpoint,
            region=settings.region,
        )
        if settings.only_public:
            connect_only_to_public(self._client, settings.endpoint)

    def require(self) -> None:
        """Raises UnavailableError if the bucket is not there, or the key is refused."""
        try:
            self._client.list_objects_v2(Bucket=self.settings.bucket, Prefix=self.prefix, MaxKeys=1)
        except ClientError as error:
            # A key that may only write may not list.
            if code_of(error) not in ("AccessDenied", "403"):
                raise self._failure(error, self.settings.bucket) from error
        except (BotoCoreError, Boto3Error) as error:
            raise self._failure(error, self.settings.bucket) from error

    def upload(self, path: Path, name: str, mime: str) -> dict[str, Any]:
        """Sends the file at `path`, signed with its hash. Returns how to reach it.

        Raises OutputUploadError, and OSError for the file.
        """
        place = {"Bucket": self.settings.bucket, "Key": name}
        try:
            self._client.upload_file(
                str(path),
                **place,
                ExtraArgs={"ContentType": mime},
                Callback=_note,
                Config=TransferConfig(
                    multipart_threshold=_PART_BYTES,
                    multipart_chunksize=_PART_BYTES,
                    use_threads=False,
                ),
            )
        except (BotoCoreError, ClientError, Boto3Error) as error:
            uri = f"s3://{self.settings.bucket}/{name}"
            fault = self._failure(error, uri)
            raise OutputUploadError(
                fault.message, remedy=fault.remedy, details={"uri": uri}
            ) from error
        url = self._client.generate_presigned_url("get_object", Params=place, ExpiresIn=_URL_TTL_S)
        return {"type": "s3_url", "data": url}

    def _failure(self, error: Exception, place: str) -> ComfyError:
        """`error` of boto3 as one of ours."""
        chain = list(_chain(error))
        if any(isinstance(it, PrivateAddressError) for it in chain):
            return InvalidInputError(
                f"{self.settings.endpoint_name} leads to an address that is not of the public "
                "internet.",
                remedy=f"Name a public service, or set {PRIVATE}=1 in the worker.",
            )
        refused = next((it for it in chain if isinstance(it, ClientError)), None)
        if refused is None:
            return UnavailableError(
                f"{place} cannot be reached at {self.settings.endpoint}: {in_one_line(str(error))}",
                remedy=f"Check the network of this machine, and {self.settings.endpoint_name}.",
            )
        code = code_of(refused)
        message = refused.response.get("Error", {}).get("Message", "")
        reason = in_one_line(f"{code} {message}".strip()).rstrip(". ")
        if code in _GONE:
            return UnavailableError(
                f"the bucket {self.settings.bucket} is not there: {reason}",
                remedy=f"Create it, or correct {self.settings.endpoint_name}. "
                f"{SHAPES if self.settings.endpoint_name == ENDPOINT else ''}".rstrip(),
            )
        if code in _BAD_KEY:
            return UnavailableError(
                f"{self.settings.endpoint} refuses the key: {reason}",
                remedy=f"Correct {self.settings.key_names}.",
            )
        return UnavailableError(
            f"{place} cannot be written: {reason}",
            remedy="Give the key the right s3:PutObject on the bucket, or try again later.",
        )


def _note(_bytes: int) -> None:
    end_if_interrupted()


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """`error` and what it was raised for."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
