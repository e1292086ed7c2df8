"""Results of checks, kept under the check's key: what was learned once holds wherever the same
layers lie."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from pydantic import ValidationError

from comfy_manifest.model import CheckReport
from runpod_comfy.realize.home import Home
from runpod_comfy.sources.cache import Cache

REPORT_NAME = "report.json"
_OBJECT_INFO_NAME = "object_info.json"


def recall_check(key: str, home: Home, cache: Cache) -> CheckReport | None:
    """The report of the check with this key, its object_info put into `home`; None if unknown."""
    entry = check_entry(key, cache)
    try:
        report = CheckReport.model_validate_json((entry / REPORT_NAME).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    partial = home.object_info_partial
    shutil.copyfile(entry / _OBJECT_INFO_NAME, partial)
    partial.replace(home.object_info)
    return report


def read_report(report_file: Path) -> CheckReport:
    """The report that a check has written."""
    return CheckReport.model_validate_json(report_file.read_bytes())


def remember_check(key: str, report_file: Path, home: Home, cache: Cache) -> CheckReport:
    """Takes a finished check into the cache; gives its report."""
    report = read_report(report_file)
    cache.tmp.mkdir(parents=True, exist_ok=True)
    cache.checks.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.tmp, prefix="check-") as folder:
        whole = Path(folder) / "entry"
        whole.mkdir()
        shutil.copyfile(report_file, whole / REPORT_NAME)
        shutil.copyfile(home.object_info, whole / _OBJECT_INFO_NAME)
        entry = check_entry(key, cache)
        if not entry.is_dir():
            _rename(whole, entry)
    return report


def _rename(whole: Path, entry: Path) -> None:
    try:
        whole.rename(entry)
    except OSError:
        # Another process made the same check at the same time.
        if not entry.is_dir():
            raise


def check_entry(key: str, cache: Cache) -> Path:
    """Where the result of the check with this key lies, or would lie."""
    return cache.checks / key.replace(":", "-")
