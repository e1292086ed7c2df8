"""A core of the standard library alone: it starts in a blink and answers what a check asks.

It serves the tests that realize a version a hundred times over. The fixture core beside it speaks
the whole protocol, and needs packages for that.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import traceback
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import comfyui_version
import folder_paths

OPTIONS = (
    *("--listen", "--port", "--extra-model-paths-config", "--output-directory"),
    *("--input-directory", "--user-directory", "--temp-directory"),
)
BASE = Path(__file__).resolve().parent


def load_nodes() -> dict[str, object]:
    found: dict[str, object] = {}
    failed = []
    for path in sorted((BASE / "custom_nodes").glob("*/__init__.py")):
        try:
            spec = importlib.util.spec_from_file_location(
                str(path.parent).replace(".", "_x_"), path
            )
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
        except Exception as error:
            sys.stderr.write(traceback.format_exc())
            sys.stderr.write(f"Cannot import {path.parent} module for custom nodes: {error}\n")
            failed.append(path.parent)
            continue
        for name in module.NODE_CLASS_MAPPINGS:
            found[name] = {"input": {}, "python_module": f"custom_nodes.{path.parent.name}"}
    for path in failed:
        sys.stderr.write(f"   0.0 seconds (IMPORT FAILED): {path}\n")
    return found


class Handler(BaseHTTPRequestHandler):
    answers: dict[str, object] = {}

    def do_GET(self) -> None:
        body = json.dumps(self.answers.get(self.path, {})).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    for option in OPTIONS:
        parser.add_argument(option)
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--disable-auto-launch", action="store_true")
    options = parser.parse_args()
    system = {"comfyui_version": comfyui_version.__version__, "argv": sys.argv}
    known = folder_paths.folder_names_and_paths
    Handler.answers = {
        "/system_stats": {"system": system, "devices": []},
        "/object_info": load_nodes(),
        "/internal/folder_paths": {name: paths for name, (paths, _) in known.items()},
    }
    HTTPServer((options.listen, int(options.port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
