"""Runs the install.py of a custom node and records what it changed; run by install.sh.

As with ComfyUI-Manager, install.py runs with the environment's own Python, the node's folder as
working directory, COMFYUI_PATH and COMFYUI_FOLDERS_BASE_PATH. It has no terminal, a temporary home
folder, the group `torch` as a constraint for pip and uv, and, with OFFLINE=1, no network.

The record, `.comfy_install/<node>.json`, is written whether or not install.py succeeds. While it
runs, `.comfy_install/unfinished` lists what the home held before.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

# With -I Python does not search the script's folder by itself.
sys.path.insert(0, str(Path(__file__).parent))

from install_watch import (
    TORCH_FAMILY,
    Distributions,
    Place,
    changes,
    normalized,
    settle,
    torch_touched,
)

RECORDS = ".comfy_install"
RECORD_SCHEMA = "runpod-comfy/install-record/1"
DEFAULT_TIMEOUT_S = "1800"

# The machine's caches, which a script must not change, and variables of our own.
DROPPED = re.compile(
    r"PYTHON|XDG_|(PIP|UV)_CACHE_DIR$|HF_HOME$|HF_HUB_CACHE$|HUGGINGFACE_HUB_CACHE$|TORCH_HOME$"
    r"|TRANSFORMERS_CACHE$|(INPUTS|TARGET|HANDLER_PYTHON|HANDLER_PATH|CHECK_REPORT)$"
)
SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_?KEY", re.IGNORECASE)

# Nothing listens on the port `discard`. In a namespace without network this saves the time that pip
# and others would spend on retries; elsewhere it is the only protection.
REFUSING = {
    **dict.fromkeys(
        ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"),
        "http://127.0.0.1:9",
    ),
    "no_proxy": "",
    "NO_PROXY": "",
    "PIP_NO_INDEX": "1",
    "UV_OFFLINE": "1",
    "HF_HUB_OFFLINE": "1",
    "GIT_ALLOW_PROTOCOL": "file",
}
WITHOUT_NETWORK = (["unshare", "-n"], ["unshare", "-c", "-n"], ["unshare", "-r", "-n"])


def main() -> int:
    home = Path(os.environ["COMFY_HOME"])
    venv = Path(os.environ["VENV"])
    name = os.environ["NODE_NAME"]
    constraints = Path(os.environ["INPUTS"], "torch.txt")
    node = home / "ComfyUI" / "custom_nodes" / name
    if not (node / "install.py").is_file():
        print(f"The node {name} has no install.py.", file=sys.stderr)
        return 2
    records = home / RECORDS
    records.mkdir(exist_ok=True)

    ours = {str(path) for path in home.glob(".comfy*")} | {str(venv)}
    environment = Place(venv, set())
    rest = Place(home, ours)
    distributions = Distributions(venv)
    write_json(records / "unfinished", rest.before)

    network, exit_code, discarded = run(name, node, home, venv, constraints)

    environment_files = changes(environment, distributions.owners)
    now = Distributions(venv)
    moved = {
        each: (distributions.versions.get(each), now.versions.get(each))
        for each in sorted(distributions.versions.keys() | now.versions.keys())
        if distributions.versions.get(each) != now.versions.get(each)
    }
    home_files = changes(rest, {})
    in_node = f"ComfyUI/custom_nodes/{name}/"
    torch_group = TORCH_FAMILY | {
        normalized(line.split("==")[0]) for line in constraints.read_text().split() if line
    }
    touched = torch_touched(torch_group, moved, environment_files, distributions.owners)
    record = {
        "schema": RECORD_SCHEMA,
        "node": name,
        "network": network,
        "exit_code": exit_code,
        "distributions": [
            {"name": each, "before": before, "after": after}
            for each, (before, after) in moved.items()
        ],
        "torch_touched": touched,
        "files": {
            "node": [
                {**file, "path": str(file["path"])[len(in_node) :]}
                for file in home_files
                if str(file["path"]).startswith(in_node)
            ],
            "home": [file for file in home_files if not str(file["path"]).startswith(in_node)],
            "environment": [
                file
                for file in environment_files
                # Files added or removed with a distribution are reported by its name.
                if distributions.owners.get(str(file["path"]), ("",))[0] not in moved
                and now.owners.get(str(file["path"]), ("",))[0] not in moved
            ],
        },
        "discarded": discarded,
    }
    write_json(records / f"{name}.json", record)
    (records / "unfinished").unlink()
    settle(rest)
    return verdict(name, exit_code, touched)


def run(
    name: str, node: Path, home: Path, venv: Path, constraints: Path
) -> tuple[str, int | str, list[str]]:
    """Runs install.py; returns its network, its exit code, and the files in its home folder."""
    scratch = home / f"{RECORDS}_scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        variables = script_variables(scratch, home, venv, constraints)
        network, command = "open", [sys.executable, "install.py"]
        if os.environ.get("OFFLINE") == "1":
            variables.update(REFUSING)
            prefix = next(filter(works, WITHOUT_NETWORK), None)
            network = "none" if prefix else "refused by variables"
            command = [*(prefix or []), *command]
        print(f"install.py of {name}, network: {network}", flush=True)
        exit_code = run_to_its_end(command, node, variables)
        left = Place(
            scratch / "home", {str(scratch / "home/.cache" / each) for each in ("pip", "uv")}
        )
        return (
            network,
            exit_code,
            sorted(p for p, kind in left.before.items() if kind != ["folder"]),
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def script_variables(scratch: Path, home: Path, venv: Path, constraints: Path) -> dict[str, str]:
    for folder in ("home", "tmp", "bin"):
        (scratch / folder).mkdir(parents=True)
    # Otherwise `pip` would be the machine's, which installs elsewhere.
    for program in ("pip", "pip3"):
        place = scratch / "bin" / program
        place.write_text('#!/bin/sh\nexec "$VIRTUAL_ENV/bin/python" -m pip "$@"\n')
        place.chmod(0o755)
    variables = {
        key: value
        for key, value in os.environ.items()
        if not DROPPED.match(key) and not SECRET.search(key)
    }
    settings = Path(os.environ.get("HOME", "/nonexistent"), ".gitconfig")
    if settings.is_file():
        # It may refer to mirrors of this machine.
        variables.setdefault("GIT_CONFIG_GLOBAL", str(settings))
    pip = bundled_pip()
    if pip and not list(venv.glob("lib/python*/site-packages/pip")):
        variables["PYTHONPATH"] = str(pip)
    return {
        **variables,
        "HOME": str(scratch / "home"),
        "TMPDIR": str(scratch / "tmp"),
        "PATH": os.pathsep.join([str(scratch / "bin"), str(venv / "bin"), os.environ["PATH"]]),
        "VIRTUAL_ENV": str(venv),
        "COMFYUI_PATH": str(home / "ComfyUI"),
        "COMFYUI_FOLDERS_BASE_PATH": str(home / "ComfyUI"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PIP_CONSTRAINT": str(constraints),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        "UV_CONSTRAINT": str(constraints),
        "UV_LINK_MODE": "copy",
        "GIT_TERMINAL_PROMPT": "0",
        "DEBIAN_FRONTEND": "noninteractive",
    }


def bundled_pip() -> Path | None:
    """The interpreter's bundled pip, as a wheel that Python can import from."""
    found = importlib.util.find_spec("ensurepip")
    if found is None or found.origin is None:
        return None
    folders = [Path(found.origin).parent / "_bundled", Path("/usr/share/python-wheels")]
    return next((wheel for folder in folders for wheel in folder.glob("pip-*.whl")), None)


def works(prefix: list[str]) -> bool:
    try:
        return subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def run_to_its_end(command: list[str], folder: Path, variables: dict[str, str]) -> int | str:
    """Runs the command; returns its exit code, or `timeout`. Nothing it started outlives it."""
    asked = os.environ.get("COMFY_INSTALL_TIMEOUT_S") or DEFAULT_TIMEOUT_S
    try:
        timeout_s = float(asked)
    except ValueError:
        sys.exit(f"COMFY_INSTALL_TIMEOUT_S is {asked!r}, which is not a number of seconds.")
    process = subprocess.Popen(
        command, cwd=folder, env=variables, stdin=subprocess.DEVNULL, start_new_session=True
    )

    def end(*_: object) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)

    def end_and_leave(number: int, _: object) -> None:
        end()
        os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end_and_leave)
    try:
        return process.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return "timeout"
    finally:
        end()
        process.wait()


def verdict(name: str, exit_code: int | str, touched: list[str]) -> int:
    if touched:
        print(f"install.py of {name} changed the torch group: {', '.join(touched)}.")
    if exit_code == "timeout":
        print(f"install.py of {name} timed out (COMFY_INSTALL_TIMEOUT_S).")
    elif exit_code != 0:
        print(f"install.py of {name} exited with {exit_code}.")
    return 1 if touched or exit_code != 0 else 0


def write_json(path: Path, document: object) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    sys.exit(main())
