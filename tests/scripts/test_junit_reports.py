"""The count with which `make test` ends."""

from __future__ import annotations

from pathlib import Path

from junit_reports import Count, count_reports
from run_tests import pants_command, verdict


def _report(folder: Path, name: str, cases: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")


def test_cases_of_all_reports_are_added(tmp_path: Path) -> None:
    _report(tmp_path, "a.xml", "<testcase/><testcase><failure>no</failure></testcase>")
    _report(tmp_path / "deeper", "b.xml", "<testcase/><testcase/>")
    assert count_reports(tmp_path) == Count(passed=3, failed=1)


def test_a_broken_fixture_fails_and_a_skipped_test_counts_as_neither(tmp_path: Path) -> None:
    cases = "<testcase><error>no</error></testcase><testcase><skipped/></testcase>"
    _report(tmp_path, "a.xml", cases)
    assert count_reports(tmp_path) == Count(passed=0, failed=1)


def test_a_report_cut_short_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<testsuites><testcase")
    assert count_reports(tmp_path) == Count(passed=0, failed=1)


def test_no_reports_are_not_tests(tmp_path: Path) -> None:
    assert count_reports(tmp_path / "missing") == Count(passed=0, failed=0)


def test_a_run_that_ended_badly_without_a_failure_in_its_reports_counts_as_failed() -> None:
    assert verdict(Count(passed=5, failed=0), 1) == Count(passed=5, failed=1)
    assert verdict(Count(passed=5, failed=2), 1) == Count(passed=5, failed=2)
    assert verdict(Count(passed=5, failed=0), 0) == Count(passed=5, failed=0)


def test_options_that_choose_tests_go_before_the_goal_of_pants() -> None:
    assert pants_command(["--tag=-docker", "tests/scripts::"])[1:] == [
        "--tag=-docker",
        "test",
        "tests/scripts::",
    ]
    assert pants_command([])[1:] == ["test", "::"]
