"""Which package indexes a person means: those of uv's variables, else those of pip's settings."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import quote, urlsplit

from runpod_comfy.sources.index.pip_settings import PipSettings, read_pip_settings


def read_index_settings(environment: Mapping[str, str] = os.environ) -> PipSettings:
    """pip's settings, with the indexes and folders that uv's variables name in place of pip's.

    A named index, `name=https://…`, gets the login of `UV_INDEX_<NAME>_USERNAME` and `_PASSWORD`.
    Raises as `read_pip_settings` does.
    """
    settings = read_pip_settings(environment)
    main = _words(environment, "UV_DEFAULT_INDEX") or _words(environment, "UV_INDEX_URL")
    extra = [*_words(environment, "UV_INDEX"), *_words(environment, "UV_EXTRA_INDEX_URL")]
    links = [place for place in environment.get("UV_FIND_LINKS", "").split(",") if place]
    if not (main or extra or links):
        return settings
    return replace(
        settings,
        index_url=_address(main[0], environment) if main else None,
        extra_index_urls=tuple(_address(index, environment) for index in extra),
        find_links=tuple(links),
        no_index=False,
    )


def _words(environment: Mapping[str, str], name: str) -> list[str]:
    return environment.get(name, "").split()


def _address(index: str, environment: Mapping[str, str]) -> str:
    name, equals, url = index.partition("=")
    if not equals or not re.fullmatch(r"[\w.-]+", name):
        return index
    variable = f"UV_INDEX_{re.sub('[^A-Z0-9]', '_', name.upper())}"
    login = [environment.get(f"{variable}_{part}") for part in ("USERNAME", "PASSWORD")]
    if not any(login):
        return url
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    user, password = (quote(part or "", safe="") for part in login)
    return parts._replace(netloc=f"{user}:{password}@{host}").geturl()
