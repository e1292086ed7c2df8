"""`make test`: runs tests through Pants and ends with the line `N passed, N failed`.

run_tests.py [OPTION…] [TARGET…]

Targets are `::` for all tests, or for example `tests/rp_handler::`. Options are those of Pants that
select targets, such as `--tag=-docker`.

Exit codes: 0 every test passed, 1 something failed or nothing ran, 130 interrupted.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from junit_reports import Count, count_reports

ROOT = Path(__file__).resolve().parents[1]
REPORTS = ROOT / "dist" / "test" / "reports"


def main(arguments: list[str]) -> int:
    """Run the tests of the targets, then print the count of their reports on standard output."""
    shutil.rmtree(REPORTS, ignore_errors=True)
    try:
        done = subprocess.run(pants_command(arguments), check=False)
    except KeyboardInterrupt:
        return 130
    count = verdict(count_reports(REPORTS), done.returncode)
    print(f"{count.passed} passed, {count.failed} failed", flush=True)
    return 0 if count.passed and not count.failed else 1


def pants_command(arguments: list[str]) -> list[str]:
    """Pants accepts its own options only before the goal. Without targets, all tests run."""
    options = [argument for argument in arguments if argument.startswith("-")]
    targets = [argument for argument in arguments if argument not in options]
    return [str(ROOT / "pants"), *options, "test", *(targets or ["::"])]


def verdict(count: Count, exit_code: int) -> Count:
    """The result: if Pants failed without a report of a failure, that counts as one failure."""
    if exit_code and not count.failed:
        return Count(passed=count.passed, failed=1)
    return count


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
