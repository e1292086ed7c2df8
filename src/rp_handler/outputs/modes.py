"""The ways to deliver outputs, as `--output` and OUTPUT_MODE name them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from comfy_errors import InvalidInputError
from comfy_files.user_paths import expanded
from comfy_home.output_modes import BY_VARIABLE, OUTPUT_MODES
from rp_handler.outputs import gcs_settings, s3_settings
from rp_handler.outputs.gcs_settings import GcsSettings
from rp_handler.outputs.s3_settings import S3Settings

# Files would be in a container that ends.
_IN_WORKER = tuple(mode for mode in OUTPUT_MODES if mode != "files")
_LONGEST = 100
# Where each bucket is named.
_BUCKETS = {"gcs": "GCS_BUCKET", "s3": "BUCKET_ENDPOINT_URL"}


_VARIABLES = {
    "gcs": gcs_settings.VARIABLES,
    "s3": (*s3_settings.VARIABLES, "AWS_REGION"),
}


def check_output_mode(
    mode: str, environment: Mapping[str, str], *, instead: str = BY_VARIABLE
) -> str:
    """Returns `mode` if `environment` says how to deliver outputs that way.

    `instead` is how to ask for outputs without a bucket where `mode` came from. Raises
    InvalidInputError, and UnavailableError for a key file that cannot be read.
    """
    if mode not in OUTPUT_MODES:
        raise InvalidInputError(
            f'"{mode}" is not an output mode.',
            remedy=f"Use {', '.join(OUTPUT_MODES[:-1])} or {OUTPUT_MODES[-1]}.",
        )
    if mode == "gcs":
        GcsSettings.of(environment, instead=instead)
    if mode == "s3":
        S3Settings.of(environment, instead=instead)
    return mode


def settings_of(mode: str, environment: Mapping[str, str]) -> tuple[dict[str, str], list[Path]]:
    """What another process, such as one in a container, needs to deliver outputs as `environment`
    says: the variables, and the files that they name.
    """
    names = _VARIABLES.get(mode, ())
    variables = {name: text for name in names if (text := environment.get(name))}
    key_file = variables.get(gcs_settings.KEY_FILE)
    if key_file is None or gcs_settings.KEY in variables:
        variables.pop(gcs_settings.KEY_FILE, None)
        return variables, []
    path = expanded(key_file).absolute()
    return {**variables, gcs_settings.KEY_FILE: str(path)}, [path]


def require_in_worker(mode: str) -> None:
    """Raises InvalidInputError unless a worker can deliver outputs this way."""
    if mode not in _IN_WORKER:
        known = f"{', '.join(_IN_WORKER[:-1])} or {_IN_WORKER[-1]}"
        raise InvalidInputError(
            # The SDK's local API shows the sentence without the remedy.
            f'Output "{mode[:_LONGEST]}" is not available in a worker, which has {known}.',
            remedy=f"Use {known}.",
        )


def lacks_bucket(mode: str, environment: Mapping[str, str]) -> bool:
    """True if `mode` delivers to a bucket, and `environment` does not name it."""
    return mode in _BUCKETS and not environment.get(_BUCKETS[mode])


def named_bucket(environment: Mapping[str, str]) -> str | None:
    """The mode of the bucket that `environment` names, None if it names none."""
    return next((mode for mode, name in _BUCKETS.items() if environment.get(name)), None)
