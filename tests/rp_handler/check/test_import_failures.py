from __future__ import annotations

from rp_handler.check.import_failures import import_failures

# As ComfyUI 0.3.75 writes it.
LOG = """\
Traceback (most recent call last):
  File "/h/ComfyUI/nodes.py", line 2146, in load_custom_node
    module_spec.loader.exec_module(module)
  File "/h/ComfyUI/comfy_extras/nodes_canny.py", line 1, in <module>
    import kornia
ModuleNotFoundError: No module named 'kornia'

Cannot import /h/ComfyUI/comfy_extras/nodes_canny.py module for custom nodes: No module named 'kornia'
Traceback (most recent call last):
  File "/h/ComfyUI/comfy_api_nodes/nodes_veo2.py", line 1, in <module>
    import veo
ModuleNotFoundError: No module named 'veo'

Cannot import /h/ComfyUI/comfy_api_nodes/nodes_veo2.py module for custom nodes: No module named 'veo'
Traceback (most recent call last):
  File "/h/ComfyUI/custom_nodes/two-lines/__init__.py", line 1, in <module>
    raise ValueError("one\\ntwo")
ValueError: one
two

Cannot import /h/ComfyUI/custom_nodes/two-lines module for custom nodes: one
two
Skip /h/ComfyUI/custom_nodes/empty module for custom nodes due to the lack of NODE_CLASS_MAPPINGS or NODES_LIST (need one).
Error while calling comfy_entrypoint in /h/ComfyUI/custom_nodes/newer: boom

Import times for custom nodes:
   0.0 seconds: /h/ComfyUI/custom_nodes/websocket_image_save.py
   0.1 seconds (IMPORT FAILED): /h/ComfyUI/custom_nodes/two-lines
   0.0 seconds (IMPORT FAILED): /h/ComfyUI/custom_nodes/empty
   0.0 seconds (IMPORT FAILED): /h/ComfyUI/custom_nodes/newer
   0.0 seconds (IMPORT FAILED): /h/ComfyUI/custom_nodes/silent

WARNING: some comfy_api_nodes/ nodes did not import correctly. This may be because they are missing some dependencies.

IMPORT FAILED: nodes_veo2.py

This issue might be caused by new missing dependencies added the last time you updated ComfyUI.
Please do a: pip install -r requirements.txt

WARNING: some comfy_extras/ nodes did not import correctly. This may be because they are missing some dependencies.

IMPORT FAILED: nodes_canny.py
"""  # noqa: E501


def test_each_failure_is_found_with_its_group_and_its_exception() -> None:
    found = [(one.group, one.name, one.reason) for one in import_failures(LOG.splitlines())]
    assert found == [
        ("custom_nodes", "two-lines", "ValueError: one two"),
        (
            "custom_nodes",
            "empty",
            "Skip /h/ComfyUI/custom_nodes/empty module for custom nodes due to the lack of "
            "NODE_CLASS_MAPPINGS or NODES_LIST (need one).",
        ),
        (
            "custom_nodes",
            "newer",
            "Error while calling comfy_entrypoint in /h/ComfyUI/custom_nodes/newer: boom",
        ),
        ("custom_nodes", "silent", "the engine's log gives no reason"),
        ("comfy_api_nodes", "nodes_veo2.py", "ModuleNotFoundError: No module named 'veo'"),
        ("comfy_extras", "nodes_canny.py", "ModuleNotFoundError: No module named 'kornia'"),
    ]


def test_a_healthy_log_has_no_failures() -> None:
    healthy = [line for line in LOG.splitlines() if "FAILED" not in line]
    assert import_failures(healthy) == []
