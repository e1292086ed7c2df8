"""What the models of JSON documents are made from: those of this project, and those of others."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A part of a document of this project, which rejects unknown keys and converts nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)


class Reported(BaseModel):
    """A part of a document of another program, or another release, which may have more keys."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, defer_build=True)
