"""Git LFS pointers: small files that stand for the real ones, where git-lfs did not fetch them."""

from __future__ import annotations

POINTER_START = b"version https://git-lfs.github.com/spec/"
"""The first bytes of a pointer, as the specification of Git LFS says."""
