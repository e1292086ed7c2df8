"""Results of checks, kept under the check's key: what was learned once holds wherever the same
layers lie."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from pydantic import ValidationError

from comfy_files.atomic import place_folder, replace_file
from comfy_home.manifest import CheckReport
from runpod_comfy.cache.paths import Cache
from runpod_comfy.realize.home import Home

REPORT_NAME = "report.json"
_OBJECT_INFO_NAME = "object_info.json"


def recall_check(key: str, home: Home, cache: Cache) -> CheckReport | None:
    """The report of the check with this key, its object_info put into `home`; None if unknown."""
    entry = check_entry(key, cache)
    try:
        report = CheckReport.model_validate_json((entry / REPORT_NAME).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    replace_file(home.object_info, (entry / _OBJECT_INFO_NAME).read_bytes())
    return report


def read_report(report_file: Path) -> CheckReport:
    """The report that a check has written."""
    return CheckReport.model_validate_json(report_file.read_bytes())


def remember_check(key: str, report_file: Path, home: Home, cache: Cache) -> CheckReport:
    """Takes a finished check into the cache; gives its report."""
    report = read_report(report_file)
    cache.tmp.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.tmp, prefix="check-") as folder:
        whole = Path(folder) / "entry"
        whole.mkdir()
        shutil.copyfile(report_file, whole / REPORT_NAME)
        shutil.copyfile(home.object_info, whole / _OBJECT_INFO_NAME)
        entry = check_entry(key, cache)
        if not entry.is_dir():
            place_folder(whole, entry)
    return report


def check_entry(key: str, cache: Cache) -> Path:
    """Where the result of the check with this key lies, or would lie."""
    return cache.checks / key.replace(":", "-")
