"""Starts a program that cannot write to some folders, not even as root.

`python confine.py [--read-only=FOLDER…] [--written=FOLDER…] -- COMMAND…` becomes COMMAND. On Linux
the folders are mounted read-only in a mount namespace of the command's own, which also holds after
a `chmod`. Where that is not possible, as in most containers, permissions hold an ordinary user, and
root gives up the right to override them, unless a `--written` folder needs it. Standard library
only.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from collections.abc import Iterable

READ_ONLY, WRITTEN = "--read-only=", "--written="

# From Linux's sched.h, mount.h, prctl.h and capability.h.
_CLONE_NEWNS, _CLONE_NEWUSER = 0x20000, 0x10000000
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_SLAVE = 1, 0x20, 0x1000, 0x4000, 0x80000
_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE, _CAP_FOWNER, _CAP_SYS_ADMIN = 1, 3, 21


def main(arguments: list[str]) -> None:
    """Confines this process, then becomes the command."""
    end = arguments.index("--")
    folders = [
        each.removeprefix(READ_ONLY) for each in arguments[:end] if each.startswith(READ_ONLY)
    ]
    written = [each.removeprefix(WRITTEN) for each in arguments[:end] if each.startswith(WRITTEN)]
    if sys.platform == "linux" and not mount_read_only(folders) and os.getuid() == 0:
        obey_permissions(written)
    os.execvp(arguments[end + 1], arguments[end + 1 :])


def mount_read_only(folders: Iterable[str]) -> bool:
    """Mounts `folders`, with the mounts in them, read-only for this process and its children.

    An ordinary user needs a user namespace for it. False if the system refuses.
    """
    libc = ctypes.CDLL(None)
    root = os.getuid() == 0
    if not (root or _may_leave_users()) or not _enter_namespace(libc, root=root):
        return False
    if libc.mount(None, b"/", None, _MS_REC | _MS_SLAVE, None) != 0:
        return False
    # Another command may just have removed one.
    for folder in map(os.fsencode, filter(os.path.isdir, folders)):
        # A user namespace may not clear the flags that a mount has.
        same = os.statvfs(folder).f_flag & (
            os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC | os.ST_NOATIME | os.ST_NODIRATIME
        )
        flags = _MS_REMOUNT | _MS_BIND | _MS_RDONLY | same
        if libc.mount(folder, folder, None, _MS_BIND | _MS_REC, None) != 0:
            return False
        if libc.mount(None, folder, None, flags, None) != 0:
            return False
    if root:
        # With it the mounts could be undone.
        _drop(libc, _CAP_SYS_ADMIN)
    return True


def obey_permissions(written: Iterable[str]) -> None:
    """Takes root's right to override permissions, which takes effect in the next program.

    Root then writes to `written` folders of other users through their group, where that may write.
    If one of them cannot be written like that, root keeps the right, and a line says so.
    """
    groups = set(os.getgroups())
    for folder in written:
        of = os.stat(folder)  # noqa: PTH116
        if of.st_uid == 0 or of.st_mode & stat.S_IWOTH:
            continue
        if not of.st_mode & stat.S_IWGRP:
            sys.stderr.write(
                f"Warning: {folder} belongs to user {of.st_uid}, and only root's right to override "
                "permissions lets this engine write there: it can write to its Python environment "
                "too.\n"
            )
            return
        groups.add(of.st_gid)
    try:
        os.setgroups(sorted(groups))
    except OSError:
        return
    _drop(ctypes.CDLL(None), _CAP_DAC_OVERRIDE, _CAP_FOWNER)


def _enter_namespace(libc: ctypes.CDLL, *, root: bool) -> bool:
    if root:
        return bool(libc.unshare(_CLONE_NEWNS) == 0)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_CLONE_NEWNS | _CLONE_NEWUSER) != 0:
        return False
    try:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as stream:  # noqa: PTH123
                stream.write(text)
    except OSError:
        return False
    return True


def _may_leave_users() -> bool:
    """False if a user namespace would be useless, or would keep the engine from its GPU: NVIDIA's
    helper creates CUDA's device as root, which it cannot do in there.
    """
    needs_helper = os.path.exists("/dev/nvidiactl") and not os.path.exists("/dev/nvidia-uvm")  # noqa: PTH110
    try:
        with open("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") as stream:  # noqa: PTH123
            is_useless = stream.read().strip() == "1"
    except OSError:
        is_useless = False
    return not needs_helper and not is_useless


def _drop(libc: ctypes.CDLL, *capabilities: int) -> None:
    for capability in capabilities:
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


if __name__ == "__main__":
    main(sys.argv[1:])
