"""The options of pip that people leave in requirements files: none of them can steer a lock."""

from __future__ import annotations

from collections.abc import Mapping

_INDEX = (
    "A lock names only the indexes that the spec names: if a distribution is on this one "
    "alone, add it to pip's configuration of this machine"
)
_TORCH_INDEX = "To take PyTorch from there, set options.torch.index to it in the spec"
_PRE = "Ask for a pre-release with options.overrides, such as 'name>=2.0rc1'"
_FILES = "The lock has every file of a release, and wheels come first"
_HASHES = "The lock has the hashes of its index"
_MACHINE = "That is a setting of a machine, not of a version"
_MANNER = "A lock is installed in one way only"

_WITH_VALUE: Mapping[str, str] = {
    "-i --index-url --pypi-url --extra-index-url -f --find-links": _INDEX,
    "--no-binary --only-binary": _FILES,
    "--hash": _HASHES,
    "--trusted-host --cert --client-cert --proxy --timeout --default-timeout --retries "
    "--cache-dir -t --target --prefix --root --python --root-user-action": _MACHINE,
    "--use-feature --use-deprecated --upgrade-strategy --progress-bar --platform -C "
    "--config-settings --config-setting --global-option --install-option --build-option "
    "--exists-action --python-version --abi --implementation --index-strategy "
    "--torch-backend": _MANNER,
}
_WITHOUT_VALUE: Mapping[str, str] = {
    "--no-index": _INDEX,
    "--pre": _PRE,
    "--prefer-binary": _FILES,
    "--require-hashes": _HASHES,
    "-U --upgrade -I --ignore-installed --force-reinstall --no-deps --no-dependencies "
    "--no-cache-dir --no-build-isolation --user -q -qq --quiet -v -vv --verbose --no-input "
    "--isolated --use-pep517 --no-use-pep517 --break-system-packages --ignore-requires-python "
    "--no-warn-script-location --no-warn-conflicts --disable-pip-version-check "
    "--check-build-dependencies --no-compile --system -y": _MANNER,
}


def _each(table: Mapping[str, str]) -> dict[str, str]:
    return {option: instead for options, instead in table.items() for option in options.split()}


# Each option, and how to get what it is for.
TAKING_A_VALUE = _each(_WITH_VALUE)
FLAGS = _each(_WITHOUT_VALUE)


def instead_of(option: str, value: str) -> str:
    """How a person gets what the option is for."""
    if option in TAKING_A_VALUE and TAKING_A_VALUE[option] == _INDEX and "pytorch.org" in value:
        return _TORCH_INDEX
    return TAKING_A_VALUE.get(option) or FLAGS[option]
