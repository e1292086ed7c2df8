"""Sizes as people read them."""

from __future__ import annotations


def readable_size(size_bytes: int) -> str:
    """`1.5 GB`, in powers of 1000 as disks and networks are sold."""
    size, unit = float(size_bytes), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size_bytes} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
