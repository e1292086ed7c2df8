"""A server that takes the connection and then says nothing."""

from __future__ import annotations

import contextlib
import socket

import pytest

from runpod_comfy.sources.git.repository import GitFailedError, run_git


@pytest.mark.parametrize("scheme", ["http", "git"])
def test_a_server_that_says_nothing_is_given_up(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"{scheme}://127.0.0.1:{server.getsockname()[1]}/repository"
        with pytest.raises(GitFailedError, match="no answer|too slow"):
            run_git(["ls-remote", "--", url], stall_s=1)
        # On a busy machine git may have been given up before it had come to connect.
        server.settimeout(0)
        with contextlib.suppress(BlockingIOError), server.accept()[0] as connection:
            # Nothing of git is left: its end of the connection is closed.
            connection.settimeout(30)
            while connection.recv(65536):
                pass
