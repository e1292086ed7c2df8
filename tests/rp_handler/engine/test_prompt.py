"""What the engine reports about a prompt, as messages."""

from __future__ import annotations

from rp_handler.engine.prompt import failure, refusal


def test_names_of_a_workflow_are_on_one_line() -> None:
    node = {"node_id": "1\n2", "node_type": "A\x1b[2J"}
    refused = refusal(
        {"node_errors": {"1\n2": {"class_type": "A\x1b[2J", "errors": [{"message": "wrong"}]}}}
    )
    assert "node 1\\n2 (A\\x1b[2J): wrong" in refused.message
    for messages, begin in (
        ([["execution_interrupted", node]], "The run was interrupted at node 1\\n2 (A\\x1b[2J)"),
        ([["execution_error", node]], "Node 1\\n2 (A\\x1b[2J) failed with"),
    ):
        error = failure({"messages": messages})
        assert error is not None
        assert error.message.startswith(begin)
