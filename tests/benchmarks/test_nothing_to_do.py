"""Counting processes in what strace wrote."""

from __future__ import annotations

from benchmarks.nothing_to_do import new_processes


def test_threads_are_not_counted_and_processes_are() -> None:
    trace = (
        "12 clone3({flags=CLONE_VM|CLONE_FS|CLONE_THREAD|CLONE_SYSVSEM, tls=0x7f}) = 13\n"
        "12 clone3({flags=CLONE_VM|CLONE_VFORK, exit_signal=SIGCHLD} <unfinished ...>\n"
        "12 <... clone3 resumed>) = 14\n"
        "12 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD) = 15\n"
        "12 vfork() = 16\n"
        "14 +++ exited with 0 +++\n"
    )
    assert new_processes(trace) == 3
