"""Logins in ~/.netrc, or in the file that NETRC names. requests ignores one that it cannot read."""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from comfy_files.files import os_reason, os_remedy
from comfy_files.progress import Say

if TYPE_CHECKING:
    from netrc import NetrcParseError

_said: set[str] = set()
_saying = threading.Lock()


class LoginsWarning(UserWarning):
    """No login of ~/.netrc is used, because it cannot be read. Given once in a process."""


def login_for(url: str) -> tuple[str, str] | None:
    """The user and the password that ~/.netrc has for the host of `url`, None without any. Gives a
    LoginsWarning if it cannot be read.
    """
    # Imported late, as nothing else here needs it.
    from netrc import NetrcParseError

    from requests.utils import get_netrc_auth

    try:
        return get_netrc_auth(url, raise_errors=True)
    except (NetrcParseError, UnicodeDecodeError, OSError) as error:
        warn_of(error)
        return None


def warn_of(error: NetrcParseError | UnicodeDecodeError | OSError) -> None:
    """Gives a LoginsWarning about a ~/.netrc whose reading failed with `error`."""
    sentence = _sentence(error)
    with _saying:
        is_new = sentence not in _said
        _said.add(sentence)
    if is_new:
        warnings.warn(sentence, LoginsWarning, stacklevel=2)


def _sentence(error: NetrcParseError | UnicodeDecodeError | OSError) -> str:
    # Not the error's own text, which quotes the file: it has passwords.
    if isinstance(error, OSError):
        reason = f"The logins cannot be read, so none is used: {os_reason(error)}"
        return f"{reason}\n  → {remedy}" if (remedy := os_remedy(error)) else reason
    if isinstance(error, UnicodeDecodeError):
        fault = f"{os.environ.get('NETRC') or '~/.netrc'} is not text in UTF-8"
    else:
        # The line is the one after the fault if that ends its line.
        fault = f"{error.filename} cannot be understood near line {error.lineno}"
    return (
        f"{fault}, so none of its logins is used\n"
        "  → Write each as: machine HOST login USER password PASSWORD"
    )


@contextlib.contextmanager
def faults_said(say: Say) -> Iterator[None]:
    """Says a LoginsWarning of the block as a sentence."""
    usual = warnings.showwarning

    def show(message: Any, category: type[Warning], *place: Any, **options: Any) -> None:
        if issubclass(category, LoginsWarning):
            say(f"Warning: {message}")
        else:
            usual(message, category, *place, **options)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = usual
