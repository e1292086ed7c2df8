"""A core without torch that keeps ComfyUI's contract: its flags, HTTP, WebSocket, log lines.

It stands in for ComfyUI where the real one cannot be made to do a thing at a chosen moment: drop
a socket, die in the middle, run half of a graph. Written after `main.py`, `server.py`,
`execution.py` and `nodes.py` of ComfyUI 0.3.75. Variables make it misbehave:
FIXTURE_DIE_AT_START (what it prints before it ends), FIXTURE_NEVER_READY, FIXTURE_IGNORES_TERM,
FIXTURE_IGNORES_INTERRUPT, FIXTURE_LOG_FORMAT. With FIXTURE_GPU it has a GPU: the part of torch that
counts its memory. With FIXTURE_CANCELS_JOBS it cancels jobs in one step, as newer cores do.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import inspect
import json
import logging
import os
import shutil
import signal
import sys
import time
import traceback
import uuid
from pathlib import Path
from typing import Any

BASE = Path(__file__).resolve().parent


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", nargs="?", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8188)
    parser.add_argument("--base-directory")
    parser.add_argument("--extra-model-paths-config", nargs="+", action="append", default=[])
    parser.add_argument("--output-directory", default=str(BASE / "output"))
    parser.add_argument("--input-directory", default=str(BASE / "input"))
    parser.add_argument("--user-directory", default=str(BASE / "user"))
    parser.add_argument("--temp-directory", default=str(BASE))
    parser.add_argument("--disable-auto-launch", action="store_true")
    parser.add_argument("--cpu", action="store_true", help="Not --the-gpu, which is slow.")
    parser.add_argument("--database-url")
    return parser.parse_args()


def execute(name: str, file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class Core:
    """The server, its queue of one prompt at a time, and its history."""

    def __init__(self, options: argparse.Namespace) -> None:
        from fixture_nodes import NODE_CLASSES

        self.options = options
        self.output = Path(options.output_directory)
        self.input = Path(options.input_directory)
        self.temp = Path(options.temp_directory) / "temp"
        self.classes: dict[str, Any] = dict(NODE_CLASSES)
        self.modules: dict[str, str] = {}
        self.sockets: dict[str, Any] = {}
        self.history: dict[str, Any] = {}
        self.interrupted = False
        self.deaf = False
        self.frees = 0
        self.running: tuple[str, str] = ("", "")
        self.work: set[asyncio.Task[None]] = set()
        # What it remembers of the last prompt: node as text → what it showed, its value.
        self.results: dict[str, Any] = {}

    def read_model_paths(self) -> None:
        import folder_paths
        import yaml

        files = [BASE / "extra_model_paths.yaml"]
        files += [Path(name) for names in self.options.extra_model_paths_config for name in names]
        for file in files:
            if not file.is_file():
                continue
            for section in (yaml.safe_load(file.read_text()) or {}).values():
                base = file.absolute().parent / section.pop("base_path", "")
                is_default = section.pop("is_default", False)
                for name, directories in section.items():
                    known = folder_paths.folder_names_and_paths.setdefault(name, ([], set()))
                    for one in filter(None, directories.split("\n")):
                        path = os.path.normpath(base / one)
                        if path not in known[0]:
                            known[0].insert(0 if is_default else len(known[0]), path)

    def run_prestartup_scripts(self) -> None:
        for script in sorted((BASE / "custom_nodes").glob("*/prestartup_script.py")):
            try:
                execute(script.with_suffix("").as_posix(), script)
            except Exception as error:
                log(f"Failed to execute startup-script: {script} / {error}")

    def load_custom_nodes(self) -> None:
        told = []
        for path in sorted((BASE / "custom_nodes").iterdir()):
            if path.name == "__pycache__" or path.name.endswith(".disabled"):
                continue
            if path.is_dir() or path.suffix == ".py":
                told.append((path, asyncio.run(self._load_custom_node(path))))
        if told:
            log("\nImport times for custom nodes:")
        for path, succeeded in told:
            log(f"   0.0 seconds{'' if succeeded else ' (IMPORT FAILED)'}: {path}")

    async def _load_custom_node(self, path: Path) -> bool:
        try:
            name = str(path.with_suffix("")) if path.is_file() else str(path).replace(".", "_x_")
            module = execute(name, path / "__init__.py" if path.is_dir() else path)
        except Exception as error:
            log(traceback.format_exc())
            log(f"Cannot import {path} module for custom nodes: {error}")
            return False
        classes = getattr(module, "NODE_CLASS_MAPPINGS", None)
        if classes is None and hasattr(module, "comfy_entrypoint"):
            try:
                entrypoint = module.comfy_entrypoint
                is_async = inspect.iscoroutinefunction(entrypoint)
                extension = await entrypoint() if is_async else entrypoint()
                nodes = await extension.get_node_list()
                classes = {node.GET_SCHEMA().node_id: node for node in nodes}
            except Exception as error:
                log(f"Error while calling comfy_entrypoint in {path}: {error}")
                return False
        if classes is None:
            log(
                f"Skip {path} module for custom nodes due to the lack of NODE_CLASS_MAPPINGS "
                "or NODES_LIST (need one)."
            )
            return False
        for name, node_class in classes.items():
            self.classes[name] = node_class
            self.modules[name] = f"custom_nodes.{path.stem}"
        return True

    def object_info(self) -> dict[str, Any]:
        return {
            name: {
                "input": {"required": node_class().required},
                "output_node": node_class.output_node,
                "name": name,
                "python_module": self.modules.get(name, "nodes"),
            }
            for name, node_class in self.classes.items()
        }

    async def tell(self, event: str, data: dict[str, Any]) -> None:
        prompt_id, client_id = self.running
        socket = self.sockets.get(client_id)
        if socket is None or self.deaf:
            return
        message = {"type": event, "data": {**data, "prompt_id": prompt_id}}
        with contextlib.suppress(ConnectionError):
            await socket.send_str(json.dumps(message))

    async def drop_sockets(self) -> None:
        sockets, self.sockets = list(self.sockets.values()), {}
        for socket in sockets:
            # The connection is cut, without the farewell of the protocol.
            socket._req.transport.abort()

    def errors_of(self, prompt: dict[str, Any], node_id: str) -> dict[str, Any]:
        """The node_errors of what the output `node_id` needs."""
        node = prompt[node_id]
        errors = [
            {
                "type": "required_input_missing",
                "message": "Required input is missing",
                "details": name,
                "extra_info": {"input_name": name},
            }
            for name in self.classes[node["class_type"]]().required
            if name not in node["inputs"]
        ]
        found = {}
        if errors:
            found[node_id] = {
                "errors": errors,
                "dependent_outputs": [node_id],
                "class_type": node["class_type"],
            }
        for value in node["inputs"].values():
            if isinstance(value, list):
                found.update(self.errors_of(prompt, value[0]))
        return found

    def key_of(self, prompt: dict[str, Any], node_id: str) -> str:
        """The node with all that it depends on: what its result is remembered under."""
        node = prompt.get(node_id)
        if node is None:
            # A link of a node that no output needs may lead nowhere.
            return "nothing"
        inputs = {
            name: self.key_of(prompt, value[0]) if isinstance(value, list) else value
            for name, value in node["inputs"].items()
        }
        return json.dumps([node["class_type"], inputs], sort_keys=True)

    async def execute(self, prompt_id: str, body: dict[str, Any], outputs: list[str]) -> None:
        import execution

        dynprompt, caches = execution.DynamicPrompt(body["prompt"]), execution.CacheSet()
        self.running = (prompt_id, body.get("client_id", ""))
        self.interrupted = False
        messages: list[Any] = []
        shown: dict[str, Any] = {}
        values: dict[str, Any] = {}

        async def note(event: str, data: dict[str, Any]) -> None:
            messages.append([event, {**data, "prompt_id": prompt_id}])
            await self.tell(event, data)

        async def run(node_id: str) -> None:
            if node_id in values:
                return
            node = body["prompt"][node_id]
            inputs = dict(node["inputs"])
            for name, value in inputs.items():
                if isinstance(value, list):
                    await run(value[0])
                    inputs[name] = values[value[0]]
            at.append(node_id)
            await self.tell("executing", {"node": node_id, "display_node": node_id})
            entry = await execution.execute(self, dynprompt, caches, node_id, inputs, prompt_id)
            ((values[node_id],),) = entry.outputs
            if entry.ui is not None:
                shown[node_id] = entry.ui
                await self.tell("executed", {"node": node_id, "output": entry.ui})

        at: list[str] = []
        status = "error"
        await note("execution_start", {})
        graph = body["prompt"]
        keys = {node_id: self.key_of(graph, node_id) for node_id in graph}
        for node_id, key in keys.items():
            if key in self.results:
                ui, values[node_id] = self.results[key]
                if ui is not None:
                    shown[node_id] = ui
        await note("execution_cached", {"nodes": list(values)})
        try:
            for output in outputs:
                await run(output)
            status = "success"
            await note("execution_success", {})
        except Exception as error:
            where = {"node_id": at[-1], "node_type": body["prompt"][at[-1]]["class_type"]}
            if type(error).__name__ == "InterruptedRunError":
                await note("execution_interrupted", where)
            else:
                told = {
                    "exception_message": f"{error}\n",
                    "exception_type": type(error).__name__,
                    "traceback": traceback.format_tb(error.__traceback__),
                }
                await note("execution_error", {**where, **told})
        self.results = {
            keys[node_id]: (shown.get(node_id), value) for node_id, value in values.items()
        }
        # ComfyUI too tells of the end before the history has it.
        await asyncio.sleep(0.02)
        self.history[prompt_id] = {
            "outputs": shown,
            "status": {
                "status_str": status,
                "completed": status == "success",
                "messages": messages,
            },
        }
        await self.tell("executing", {"node": None})
        self.running = ("", "")


def log(text: str) -> None:
    logging.info(text)


def serve(core: Core) -> None:
    import comfyui_version
    import folder_paths
    from aiohttp import web

    routes = web.RouteTableDef()

    @routes.get("/system_stats")
    async def system_stats(_: web.Request) -> web.Response:
        system = {
            "comfyui_version": comfyui_version.__version__,
            "python_version": sys.version,
            "pytorch_version": "none",
            "argv": sys.argv,
        }
        kind = "cuda" if "FIXTURE_GPU" in os.environ else "cpu"
        device = {"name": kind, "type": kind, "vram_total": 2**30}
        return web.json_response({"system": system, "devices": [device]})

    @routes.get("/object_info")
    async def object_info(_: web.Request) -> web.Response:
        return web.json_response(core.object_info())

    @routes.get("/internal/folder_paths")
    async def folders(_: web.Request) -> web.Response:
        known = folder_paths.folder_names_and_paths
        return web.json_response({name: paths for name, (paths, _) in known.items()})

    @routes.get("/models")
    async def models(_: web.Request) -> web.Response:
        return web.json_response(list(folder_paths.folder_names_and_paths))

    @routes.get("/models/{folder}")
    async def model_files(request: web.Request) -> web.Response:
        return web.json_response(folder_paths.filename_list(request.match_info["folder"]))

    @routes.get("/ws")
    async def socket(request: web.Request) -> web.WebSocketResponse:
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        client_id = request.query.get("clientId", uuid.uuid4().hex)
        core.sockets[client_id] = opened
        await opened.send_str(json.dumps({"type": "status", "data": {"sid": client_id}}))
        async for _ in opened:
            pass
        return opened

    @routes.post("/prompt")
    async def prompt(request: web.Request) -> web.Response:
        body = await request.json()
        graph = body["prompt"]
        for node_id, node in graph.items():
            if node["class_type"] not in core.classes:
                error = {
                    "type": "invalid_prompt",
                    "message": f"Cannot execute because node {node['class_type']} does not exist.",
                    "details": f"Node ID '#{node_id}'",
                }
                return web.json_response({"error": error, "node_errors": {}}, status=400)
        outputs = [one for one, it in graph.items() if core.classes[it["class_type"]].output_node]
        errors = {one: core.errors_of(graph, one) for one in outputs}
        node_errors = {key: value for found in errors.values() for key, value in found.items()}
        good = [one for one in outputs if not errors[one]]
        if not good:
            kind = "prompt_outputs_failed_validation" if outputs else "prompt_no_outputs"
            error = {"type": kind, "message": "Prompt outputs failed validation", "details": ""}
            return web.json_response({"error": error, "node_errors": node_errors}, status=400)
        prompt_id = body.get("prompt_id", str(uuid.uuid4()))
        task = asyncio.create_task(core.execute(prompt_id, body, good))
        core.work.add(task)
        return web.json_response({"prompt_id": prompt_id, "number": 0, "node_errors": node_errors})

    @routes.get("/history")
    async def whole_history(_: web.Request) -> web.Response:
        return web.json_response(core.history)

    @routes.get("/history/{prompt_id}")
    async def history(request: web.Request) -> web.Response:
        prompt_id = request.match_info["prompt_id"]
        entry = core.history.get(prompt_id)
        return web.json_response({prompt_id: entry} if entry else {})

    @routes.post("/history")
    async def forget_history(request: web.Request) -> web.Response:
        if (await request.json()).get("clear"):
            core.history = {}
        return web.Response()

    @routes.post("/interrupt")
    async def interrupt(_: web.Request) -> web.Response:
        core.interrupted = "FIXTURE_IGNORES_INTERRUPT" not in os.environ
        log("interrupted")
        return web.Response()

    if "FIXTURE_CANCELS_JOBS" in os.environ:

        @routes.post("/api/jobs/{prompt_id}/cancel")
        async def cancel(_: web.Request) -> web.Response:
            core.interrupted = True
            log("cancelled")
            return web.json_response({"cancelled": True})

    @routes.get("/queue")
    async def queued(_: web.Request) -> web.Response:
        running = [[0, core.running[0]]] if core.running[0] else []
        return web.json_response({"queue_running": running, "queue_pending": []})

    @routes.post("/free")
    async def free(request: web.Request) -> web.Response:
        asked = await request.json()
        if asked.get("free_memory"):
            core.results = {}
        core.frees += bool(asked.get("unload_models"))
        return web.Response()

    @routes.post("/queue")
    async def queue(_: web.Request) -> web.Response:
        return web.Response()

    async def ignore_term(_: web.Application) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, log, "asked to end")

    app = web.Application(client_max_size=2**30)
    app.add_routes(routes)
    if os.environ.get("FIXTURE_IGNORES_TERM"):
        app.on_startup.append(ignore_term)
    web.run_app(app, host=core.options.listen, port=core.options.port, print=None)


def main() -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format=os.environ.get("FIXTURE_LOG_FORMAT", "%(message)s"),
    )
    options = parse()
    if "FIXTURE_GPU" in os.environ:
        from fixture_nodes import Torch

        sys.modules["torch"] = Torch("torch")
    if message := os.environ.get("FIXTURE_DIE_AT_START"):
        log(message)
        sys.exit(3)
    core = Core(options)
    shutil.rmtree(core.temp, ignore_errors=True)
    core.temp.mkdir(parents=True)
    core.read_model_paths()
    core.run_prestartup_scripts()
    core.load_custom_nodes()
    log("Starting server")
    while os.environ.get("FIXTURE_NEVER_READY"):
        time.sleep(0.1)
    serve(core)


if __name__ == "__main__":
    main()
