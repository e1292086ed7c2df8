"""Runs in the engine's own process when its Python starts: reports how the modules of nodes are
executed, whatever the core or a node does with its log, and how much GPU memory was used.

The setting RP_HANDLER_IMPORTS is a JSON object: `report` is an existing file, which gets one JSON
object per line, `core` is ComfyUI's folder, `left_out` are names of custom nodes that are not
executed, and `memory` is null or the descriptor of a socket: for each byte that arrives, the peak
of GPU memory since the last one is sent, in bytes as decimal text. With `node_outputs`, an existing
file, the outputs of nodes are reported there, by `node_outputs.py` beside this file. Without the
setting nothing is observed. Only the standard library, and Python 3.9.
"""

from __future__ import annotations

import _thread
import contextlib
import functools
import importlib.machinery
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

_Facts = dict[str, Any]

_SETTING = "RP_HANDLER_IMPORTS"
_HERE = os.path.dirname(os.path.abspath(__file__))
_CORE_GROUPS = ("comfy_extras", "comfy_api_nodes")
# Other modules of these folders are imported by them, and a core may do without one.
_CORE_FILES = ("nodes_", "canary.py")
_SCRIPTS = {"__init__.py": "import", "prestartup_script.py": "prestartup"}
_LONGEST_TEXT = 100_000
_LONGEST_CHAIN = 8


class _Watch:
    """Observes the modules of nodes in one process. Must never fail in the engine's code."""

    def __init__(
        self, report: str, core: str, left_out: list[str], node_outputs: str | None
    ) -> None:
        self._report = report
        self._left_out = left_out
        self._node_outputs = node_outputs
        self._execution = os.path.join(core, "execution.py")
        self._process = os.getpid()
        self._main_thread = _thread.get_ident()
        self._custom = os.path.join(core, "custom_nodes")
        self._core_groups = {os.path.join(core, group): group for group in _CORE_GROUPS}
        self._depth = 0
        self._count = 0

    def start(self) -> None:
        loader: Any = importlib.machinery.SourceFileLoader
        make = loader.__init__

        @functools.wraps(make)
        def observed(this: Any, fullname: str, path: str, *others: Any) -> None:
            make(this, fullname, path, *others)
            with contextlib.suppress(Exception):
                part = self._part_of(path)
                if part is not None:
                    # On the instance, so that tracebacks of other modules stay as they are.
                    this.exec_module = functools.partial(self._execute, this.exec_module, part)
                elif self._node_outputs is not None and os.path.normpath(path) == self._execution:
                    this.exec_module = functools.partial(self._execute_core, this.exec_module)

        loader.__init__ = observed
        self._tell(event="start", python=sys.version.split()[0])

    def _part_of(self, path: str) -> _Facts | None:
        """The node package that a source file starts, None for any other file."""
        folder, file = os.path.split(os.path.normpath(path))
        if folder in self._core_groups:
            if not file.startswith(_CORE_FILES):
                return None
            group = self._core_groups[folder]
            return {"group": group, "name": file, "stage": "import", "file": f"{group}/{file}"}
        group, parent = "custom_nodes", os.path.dirname(folder)
        if folder == self._custom:
            return {"group": group, "name": file, "stage": "import", "file": f"{group}/{file}"}
        stage = _SCRIPTS.get(file)
        if parent != self._custom or stage is None:
            return None
        name = os.path.basename(folder)
        return {"group": group, "name": name, "stage": stage, "file": f"{group}/{name}/{file}"}

    def _execute(
        self, execute: Callable[[ModuleType], None], part: _Facts, module: ModuleType
    ) -> None:
        self._count += 1
        # The core executes nodes in its main thread, one after the other.
        in_main = _thread.get_ident() == self._main_thread
        part = {**part, "number": self._count, "by_core": in_main and self._depth == 0}
        self._tell(event="began", **part)
        self._depth += in_main
        try:
            if part["group"] == "custom_nodes" and part["name"] in self._left_out:
                raise ImportError("it is left out on this machine, which lacks what it needs")
            execute(module)
        except BaseException as error:
            self._tell_error(part, error)
            raise
        else:
            self._tell(event="finished", **part, **self._brought_by(module, part))
        finally:
            self._depth -= in_main

    def _execute_core(self, execute: Callable[[ModuleType], None], module: ModuleType) -> None:
        execute(module)
        with contextlib.suppress(Exception):
            write = functools.partial(_append, str(self._node_outputs))
            _loaded("node_outputs").Recorder(write).install(module)

    def _brought_by(self, module: Any, part: _Facts) -> _Facts:
        """What the core will look for in a module that was executed."""
        try:
            mappings = getattr(module, "NODE_CLASS_MAPPINGS", None)
            entrypoint = getattr(module, "comfy_entrypoint", None) if mappings is None else None
            if entrypoint is not None:
                module.comfy_entrypoint = self._watched_entrypoint(entrypoint, part)
            return {
                "classes": None if mappings is None else sorted(map(str, mappings)),
                "has_entrypoint": entrypoint is not None,
                "has_web": _is_folder(module, getattr(module, "WEB_DIRECTORY", None)),
            }
        except Exception:
            return {}

    def _watched_entrypoint(self, entrypoint: Any, part: _Facts) -> Any:
        import inspect

        part = {**part, "stage": "entrypoint"}
        if inspect.iscoroutinefunction(entrypoint):

            @functools.wraps(entrypoint)
            async def awaited(*arguments: Any, **named: Any) -> Any:
                with self._telling(part):
                    extension = await entrypoint(*arguments, **named)
                return self._watched_extension(extension, part)

            return awaited

        if callable(entrypoint):

            @functools.wraps(entrypoint)
            def called(*arguments: Any, **named: Any) -> Any:
                with self._telling(part):
                    extension = entrypoint(*arguments, **named)
                return self._watched_extension(extension, part)

            return called

        return entrypoint

    def _watched_extension(self, extension: Any, part: _Facts) -> Any:
        get_node_list = getattr(extension, "get_node_list", None)
        if get_node_list is None:
            kind = type(extension).__name__
            self._tell_error(part, TypeError(f"it returned {kind}, not a ComfyExtension"))
            return extension

        async def watched() -> Any:
            with self._telling(part):
                nodes = await get_node_list()
                # The core does this next, and would only log an error.
                classes = [node.GET_SCHEMA().node_id for node in nodes]
            self._tell(event="finished", **part, classes=sorted(map(str, classes)))
            return nodes

        with contextlib.suppress(Exception):
            extension.get_node_list = watched
        return extension

    @contextlib.contextmanager
    def _telling(self, part: _Facts) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self._tell_error(part, error)
            raise

    def _tell_error(self, part: _Facts, error: BaseException) -> None:
        try:
            folder = os.path.join(os.path.dirname(self._custom), part["group"], part["name"])
            told = _described(error, folder)
        except Exception:
            told = {"chain": [{"type": type(error).__name__}]}
        self._tell(event="raised", **part, **told, is_fatal=not isinstance(error, Exception))

    def _tell(self, **facts: Any) -> None:
        if os.getpid() == self._process:
            _append(self._report, **facts)


def _append(report: str, **facts: Any) -> None:
    with contextlib.suppress(Exception):
        line = (json.dumps(facts) + "\n").encode()
        handle = os.open(report, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(handle, line)
        finally:
            os.close(handle)


def _loaded(name: str) -> Any:
    """A module of this folder, which no other code can import by its name."""
    spec: Any = importlib.util.spec_from_file_location(name, os.path.join(_HERE, f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _answer(memory: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(memory, 1):
            os.write(memory, str(_peak()).encode())


def _peak() -> int | None:
    """The largest peak among the GPUs that PyTorch uses; None without."""
    try:
        cuda: Any = sys.modules["torch"].cuda
        if not cuda.is_initialized():
            return None
        devices = range(cuda.device_count())
        peaks = [int(cuda.max_memory_allocated(device)) for device in devices]
        for device in devices:
            cuda.reset_peak_memory_stats(device)
        return max(peaks)
    except Exception:
        return None


def _is_folder(module: ModuleType, web: Any) -> bool:
    place = os.path.dirname(module.__file__ or "")
    return isinstance(web, str) and os.path.isdir(os.path.join(place, web))


def _described(error: BaseException, folder: str) -> _Facts:
    """An exception with its causes, the place in the node's own code, and the whole traceback."""
    import traceback

    frames: list[_Facts] = [
        {"file": frame.filename, "line": frame.lineno or 0}
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_HERE)
    ]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append({"file": error.filename, "line": error.lineno or 0})
    own = [
        frame
        for frame in frames
        if frame["file"] == folder or frame["file"].startswith(folder + os.sep)
    ]
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return {
        "chain": _chain(error),
        "place": own[-1] if own else None,
        "raised_at": frames[-1] if frames else None,
        "traceback": text[-_LONGEST_TEXT:],
    }


def _chain(raised: BaseException) -> list[_Facts]:
    """The exception, then what it was caused by."""
    chain: list[_Facts] = []
    error: BaseException | None = raised
    while error is not None and len(chain) < _LONGEST_CHAIN:
        facts: _Facts = {"type": type(error).__name__, "message": _text(error)}
        if isinstance(error, OSError):
            facts["errno"] = error.errno
            facts["filename"] = None if error.filename is None else str(error.filename)
        if isinstance(error, ImportError):
            facts["module"] = error.name
        chain.append(facts)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return chain


def _text(error: BaseException) -> str:
    try:
        return str(error)[:_LONGEST_TEXT]
    except Exception:
        return ""


def _leave() -> None:
    """Leaves the path, in this process and for those that it starts."""
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != _HERE]
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    others = [entry for entry in paths if entry and os.path.abspath(entry) != _HERE]
    if others:
        os.environ["PYTHONPATH"] = os.pathsep.join(others)
    else:
        os.environ.pop("PYTHONPATH", None)


def _run_hidden() -> None:
    """Runs the `sitecustomize` that Python would have imported without this one."""
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize")
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


def _keep_descriptors() -> None:
    """Keeps the engine's locks from the programs that nodes start, which may outlive it."""
    with contextlib.suppress(OSError):
        for name in os.listdir("/dev/fd"):
            with contextlib.suppress(OSError):
                if int(name) > 2:
                    os.set_inheritable(int(name), False)


def _main() -> None:
    setting = os.environ.pop(_SETTING, None)
    _leave()
    if setting is not None:
        _keep_descriptors()
        with contextlib.suppress(Exception):
            options = json.loads(setting)
            core = os.path.realpath(options["core"])
            _Watch(options["report"], core, options["left_out"], options["node_outputs"]).start()
            if options["memory"] is not None:
                _thread.start_new_thread(_answer, (options["memory"],))
    _run_hidden()


_main()
