"""The ways to deliver outputs, as `--output` and OUTPUT_MODE name them."""

from __future__ import annotations

from collections.abc import Mapping

from comfy_errors import InvalidInputError
from comfy_home.output_modes import OUTPUT_MODES
from rp_handler.outputs import gcs_settings, s3_settings
from rp_handler.outputs.gcs_settings import GcsSettings
from rp_handler.outputs.s3_settings import S3Settings

# Files would be in a container that ends.
_IN_WORKER = tuple(mode for mode in OUTPUT_MODES if mode != "files")
# Where each bucket is named.
_BUCKETS = {"gcs": "GCS_BUCKET", "s3": "BUCKET_ENDPOINT_URL"}


VARIABLES = {
    "gcs": gcs_settings.VARIABLES,
    "s3": (*s3_settings.VARIABLES, "AWS_REGION"),
}
"""The variables that say how outputs are delivered to a bucket, by mode."""


def check_output_mode(mode: str, environment: Mapping[str, str]) -> str:
    """Returns `mode` if `environment` says how to deliver outputs that way.

    Raises InvalidInputError, and UnavailableError for a key file that cannot be read.
    """
    if mode not in OUTPUT_MODES:
        raise InvalidInputError(
            f'"{mode}" is not an output mode.',
            remedy=f"Use {', '.join(OUTPUT_MODES[:-1])} or {OUTPUT_MODES[-1]}.",
        )
    if mode == "gcs":
        GcsSettings.of(environment)
    if mode == "s3":
        S3Settings.of(environment)
    return mode


def require_in_worker(mode: str) -> None:
    """Raises InvalidInputError unless a worker can deliver outputs this way."""
    if mode not in _IN_WORKER:
        raise InvalidInputError(
            f'Output "{mode}" is not available in a worker.',
            remedy=f"Use {', '.join(_IN_WORKER[:-1])} or {_IN_WORKER[-1]}.",
        )


def named_bucket(environment: Mapping[str, str]) -> str | None:
    """The mode of the bucket that `environment` names, None if it names none."""
    return next((mode for mode, name in _BUCKETS.items() if environment.get(name)), None)
