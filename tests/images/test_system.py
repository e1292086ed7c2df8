from __future__ import annotations

from tests.images.conftest import Bench
from tests.program import write_program


def test_an_image_gets_the_packages_by_name(bench: Bench) -> None:
    programs = bench.folder / "bin"
    write_program(programs / "apt-get", 'echo "$@" >>"$CALLS"\n')
    calls = bench.folder / "calls"
    variables = {
        "TARGET": "image",
        "SYSTEM_PACKAGES": "ffmpeg libgl1",
        # Every system has this user, so that nothing is written.
        "IMAGE_USER": "0:0",
        "CALLS": str(calls),
        "PATH": f"{programs}:{bench.path}",
    }
    bench.run("system", variables)
    update, install = calls.read_text().splitlines()
    assert update == "update"
    assert install == "install --yes --no-install-recommends -- ffmpeg libgl1"


def test_packages_that_are_unavailable_offline_are_named(bench: Bench) -> None:
    variables = {
        "TARGET": "image",
        "SYSTEM_PACKAGES": "ffmpeg",
        "IMAGE_USER": "0:0",
        "OFFLINE": "1",
    }
    outcome = bench.attempt("system", variables)
    assert outcome.returncode == 3
    assert "ffmpeg" in outcome.stderr
