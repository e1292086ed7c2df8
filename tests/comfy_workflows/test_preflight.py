from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfy_workflows.graph import InvalidWorkflowError, parse_workflow
from comfy_workflows.model_files import ModelFolders
from comfy_workflows.preflight import MissingModelsError, MissingNodesError, preflight

OBJECT_INFO: dict[str, Any] = {
    "EmptyImage": {"input": {"required": {"width": ["INT", {}]}}, "python_module": "nodes"},
    "ImageScale": {
        "input": {
            "required": {"image": ["IMAGE"], "method": [["nearest", "lanczos"], {}]},
            "optional": {"crop": ["COMBO", {"options": ["disabled", "center"]}]},
        },
        "python_module": "nodes",
    },
    "UpscaleModelLoader": {
        "input": {"required": {"model_name": ["COMBO", {"options": []}]}},
        "python_module": "comfy_extras.nodes_upscale_model",
    },
    "LoadImage": {
        "input": {"required": {"image": [[], {"image_upload": True}]}},
        "python_module": "nodes",
    },
    "CustomPick": {
        "input": {"required": {"style": [["a", "b"], {}], "model": [["static.pth"], {}]}},
        "python_module": "custom_nodes.pick",
    },
    "Shifting": {
        "input": {"required": {"images": ["COMFY_AUTOGROW_V3", {}]}},
        "python_module": "nodes",
    },
    "SaveImage": {
        "input": {"required": {"images": ["*"]}, "optional": {}},
        "output_node": True,
        "python_module": "nodes",
    },
}


@pytest.fixture
def models(tmp_path: Path) -> ModelFolders:
    (tmp_path / "models/upscale_models/sub").mkdir(parents=True)
    (tmp_path / "models/upscale_models/x2.pth").touch()
    (tmp_path / "models/upscale_models/sub/x4.safetensors").touch()
    (tmp_path / "input").mkdir()
    return ModelFolders(
        roots=[tmp_path / "models"],
        folders={"upscale_models": ["upscale_models"], "loras": ["loras"]},
        inputs={"UpscaleModelLoader": {"model_name": ["upscale_models"]}},
    )


def check(models: ModelFolders, **nodes: tuple[str, dict[str, Any]]) -> None:
    document = {
        name.removeprefix("n"): {"class_type": class_type, "inputs": inputs}
        for name, (class_type, inputs) in nodes.items()
    }
    preflight(
        parse_workflow(document, place="g.json"),
        object_info=OBJECT_INFO,
        models=models,
        input_folder=models.roots[0].parent / "input",
        custom_nodes=models.roots[0].parent / "custom_nodes",
        place="g.json",
    )


def save(source: str) -> tuple[str, dict[str, Any]]:
    return "SaveImage", {"images": [source, 0]}


def test_a_graph_that_can_run_passes(models: ModelFolders) -> None:
    check(
        models,
        n1=("EmptyImage", {"width": 64}),
        n2=("ImageScale", {"image": ["1", 0], "method": "lanczos", "crop": "center"}),
        n3=save("2"),
    )


def test_nodes_that_form_a_cycle_are_named(models: ModelFolders) -> None:
    with pytest.raises(InvalidWorkflowError, match="form a cycle") as caught:
        check(
            models,
            n1=("ImageScale", {"image": ["2", 0], "method": "lanczos"}),
            n2=("ImageScale", {"image": ["1", 0], "method": "lanczos"}),
            n3=save("2"),
        )
    (problem,) = caught.value.problems
    assert "1 → 2 → 1" in problem.sentence or "2 → 1 → 2" in problem.sentence


def test_an_unknown_node_class_is_named_with_the_nearest_known(models: ModelFolders) -> None:
    with pytest.raises(MissingNodesError) as caught:
        check(models, n7=("SaveImag", {"images": ["1", 0]}))
    assert 'node 7: this version has no node class "SaveImag"' in caught.value.message
    assert 'the nearest is "SaveImage"' in caught.value.message
    assert caught.value.exit_code == 2


def test_a_missing_model_is_named_with_its_folder_and_what_is_there(models: ModelFolders) -> None:
    with pytest.raises(MissingModelsError) as caught:
        check(models, n1=("UpscaleModelLoader", {"model_name": "x8.pth"}), n2=save("1"))
    assert '"x8.pth" is not in the model folder upscale_models' in caught.value.message
    assert "sub/x4.safetensors, x2.pth" in caught.value.message
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("name", ["x2.pth", "sub/x4.safetensors", "sub\\x4.safetensors"])
def test_a_model_that_is_there_now_passes(models: ModelFolders, name: str) -> None:
    check(models, n1=("UpscaleModelLoader", {"model_name": name}), n2=save("1"))


@pytest.mark.parametrize(
    ("path", "accepted"),
    [
        ("/runpod-volume/models/upscale_models/x2.pth", "x2.pth"),
        ("/workspace/ComfyUI/models/upscale_models/sub/x4.safetensors", "sub/x4.safetensors"),
        ("upscale_models/x2.pth", "x2.pth"),
        ("C:\\models\\upscale_models\\sub\\x4.safetensors", "sub/x4.safetensors"),
    ],
)
def test_a_model_named_by_a_path_is_refused_with_the_name_that_is_accepted(
    models: ModelFolders, path: str, accepted: str
) -> None:
    with pytest.raises(InvalidWorkflowError) as caught:
        check(models, n1=("UpscaleModelLoader", {"model_name": path}), n2=save("1"))
    assert f'is a path, and not the name of a model: write "{accepted}"' in caught.value.message
    assert caught.value.error_type == "invalid_workflow"


def test_a_path_of_a_model_that_is_not_there_is_a_missing_model(models: ModelFolders) -> None:
    for path in ("/runpod-volume/models/upscale_models/x8.pth", "/" * 10**5 + "x8.pth"):
        with pytest.raises(MissingModelsError):
            check(models, n1=("UpscaleModelLoader", {"model_name": path}), n2=save("1"))


def test_of_many_models_the_nearest_is_named(models: ModelFolders) -> None:
    for number in range(10):
        (models.roots[0] / f"upscale_models/model-{number}.pth").touch()
    (models.roots[0] / "upscale_models/zebra.pth").touch()
    with pytest.raises(MissingModelsError, match=r'the nearest is "zebra\.pth"'):
        check(models, n1=("UpscaleModelLoader", {"model_name": "zebras.pth"}), n2=save("1"))


def test_a_model_name_cannot_lead_out_of_its_folder(models: ModelFolders) -> None:
    (models.roots[0] / "outside.pth").touch()
    with pytest.raises(MissingModelsError):
        check(models, n1=("UpscaleModelLoader", {"model_name": "../outside.pth"}), n2=save("1"))


def test_a_link_to_a_model_that_is_gone_is_a_missing_model(models: ModelFolders) -> None:
    (models.roots[0] / "upscale_models/gone.pth").symlink_to("/nonexistent/gone.pth")
    with pytest.raises(MissingModelsError):
        check(models, n1=("UpscaleModelLoader", {"model_name": "gone.pth"}), n2=save("1"))


@pytest.mark.parametrize(
    ("inputs", "fault"),
    [
        ({"method": "nearest"}, "image: is required but missing"),
        ({"image": ["9", 0], "method": "nearest"}, "comes from node 9, which does not exist"),
        (
            {"image": ["1", 0], "method": "lanczo"},
            '"lanczo" is not a valid choice; the nearest is "lan',
        ),
        ({"image": [1, 0], "method": "nearest"}, r'is \[1, 0\]; a link looks like \["4", 0\]'),
        (
            {"image": ["1", 0], "method": "nearest", "crop": "up"},
            '"up" is not a valid choice; known are',
        ),
    ],
)
def test_a_bad_input_is_reported_with_its_node(
    models: ModelFolders, inputs: dict[str, Any], fault: str
) -> None:
    with pytest.raises(InvalidWorkflowError, match=r"node 2 \(ImageScale\).*" + fault):
        check(models, n1=("EmptyImage", {"width": 1}), n2=("ImageScale", inputs), n3=save("2"))


def test_all_problems_are_reported_at_once(models: ModelFolders) -> None:
    with pytest.raises(MissingNodesError) as caught:
        check(
            models,
            n1=("UpscaleModelLoader", {"model_name": "x8.pth"}),
            n2=("ImageScale", {"image": ["1", 0], "method": "no"}),
            n3=save("2"),
            n4=("Nothing", {}),
        )
    assert [problem.kind for problem in caught.value.problems] == [
        "missing_node",
        "missing_model",
        "invalid_input",
    ]


def test_what_no_output_needs_may_be_wrong_as_in_the_engine(models: ModelFolders) -> None:
    check(models, n1=("EmptyImage", {"width": 1}), n2=save("1"), n3=("ImageScale", {}))


def test_a_graph_without_output_is_refused(models: ModelFolders) -> None:
    with pytest.raises(InvalidWorkflowError, match="no node of the graph is an output"):
        check(models, n1=("EmptyImage", {"width": 1}))


def test_a_name_with_control_characters_is_shown_with_escapes(models: ModelFolders) -> None:
    with pytest.raises(InvalidWorkflowError) as caught:
        check(models, **{"3\n4\x1b": ("Unknown", {})})
    assert "node 3\\n4\\x1b: this version has no node class" in caught.value.message


def test_an_input_file_is_looked_for_in_the_input_folder(models: ModelFolders) -> None:
    (models.roots[0].parent / "input/a.png").touch()
    check(models, n1=("LoadImage", {"image": "a.png"}), n2=save("1"))
    check(models, n1=("LoadImage", {"image": "later.png [output]"}), n2=save("1"))
    with pytest.raises(InvalidWorkflowError, match=r'"b\.png" is not in .*input'):
        check(models, n1=("LoadImage", {"image": "b.png"}), n2=save("1"))


def test_choices_of_custom_nodes_are_left_to_the_engine(models: ModelFolders) -> None:
    check(models, n1=("CustomPick", {"style": "made up", "model": "static.pth"}), n2=save("1"))


def test_a_model_of_a_custom_node_is_looked_for_in_every_folder(models: ModelFolders) -> None:
    check(models, n1=("CustomPick", {"style": "a", "model": "x2.pth"}), n2=save("1"))
    with pytest.raises(MissingModelsError, match=r'"x9\.pth" is not in any model folder'):
        check(models, n1=("CustomPick", {"style": "a", "model": "x9.pth"}), n2=save("1"))


def test_inputs_that_take_other_names_in_a_graph_are_not_called_missing(
    models: ModelFolders,
) -> None:
    check(
        models,
        n1=("Shifting", {"images.image0": ["2", 0]}),
        n2=("EmptyImage", {"width": 1}),
        n3=save("1"),
    )


NUMBERS: dict[str, Any] = {
    "required": {
        "width": ["INT", {"min": 16, "max": 512}],
        "scale": ["FLOAT", {"min": 0.5}],
        "style": [["wild", "calm"], {}],
    }
}


@pytest.fixture
def numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node of the core and one of a custom node with numbers and a list, and their outputs."""
    for name, module in (("Core", "nodes"), ("Custom", "custom_nodes.numbers")):
        node = {"input": NUMBERS, "python_module": module, "output": ["MODEL", "*"]}
        monkeypatch.setitem(OBJECT_INFO, name, node)
    image = {"input": {"required": {"image": ["IMAGE,MASK"]}}, "python_module": "nodes"}
    monkeypatch.setitem(OBJECT_INFO, "Look", {**image, "output": ["MASK"], "output_node": True})


GOOD = {"width": 64, "scale": 1, "style": "calm"}


def _code(models: ModelFolders, text: str, name: str = "numbers/__init__.py") -> None:
    path = models.roots[0].parent / "custom_nodes" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("class_type", ["Core", "Custom"])
@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"width": "wide"}, 'width: "wide" is not a whole number'),
        ({"width": None}, "width: null is not a whole number"),
        ({"scale": {"a": 1}}, r'scale: \{"a": 1\} is not a number'),
        ({"width": 8}, "width: 8 is less than 16, the minimum"),
        ({"width": "1024"}, 'width: "1024" is more than 512, the maximum'),
        ({"scale": 0.25}, "scale: 0.25 is less than 0.5"),
        ({"scale": {"__value__": 0.25}}, "scale: 0.25 is less than 0.5"),
        ({"style": "calmm"}, 'style: "calmm" is not a valid choice; the nearest is "calm"'),
        ({"style": 3}, "style: 3 is not a valid choice; known are wild, calm"),
        ({"width": [1, 2, 3]}, r"width: is \[1, 2, 3\]; a link looks like"),
    ],
)
@pytest.mark.usefixtures("numbers")
def test_values_that_the_engine_would_refuse_are_reported(
    models: ModelFolders, class_type: str, wrong: dict[str, Any], fault: str
) -> None:
    _code(models, "STYLES = ['wild', \"calm\"]\n")
    with pytest.raises(InvalidWorkflowError, match=fault):
        check(models, n1=(class_type, {**GOOD, **wrong}), n2=save("1"))


@pytest.mark.usefixtures("numbers")
def test_values_that_the_engine_converts_pass(models: ModelFolders) -> None:
    for value in (64.7, "64", True + 63):
        check(models, n1=("Core", {**GOOD, "width": value}), n2=save("1"))


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("def VALIDATE_INPUTS(cls, width): return True\n'wild' 'calm'", "numbers/a/nodes.py"),
        ("", "numbers/fast.so"),
        ("import other  # __contains__ 'wild' 'calm'", "numbers.py"),
    ],
)
@pytest.mark.usefixtures("numbers")
def test_a_custom_node_with_rules_of_its_own_is_left_to_the_engine(
    models: ModelFolders, code: str, name: str
) -> None:
    _code(models, code, name)
    check(models, n1=("Custom", {"width": 9999, "scale": 0, "style": "other"}), n2=save("1"))
    # It converts numbers before a node sees them.
    with pytest.raises(InvalidWorkflowError, match="is not a whole number"):
        check(models, n1=("Custom", {**GOOD, "width": "wide"}), n2=save("1"))


@pytest.mark.usefixtures("numbers")
def test_choices_that_a_custom_node_computes_are_left_to_the_engine(models: ModelFolders) -> None:
    _code(models, "STYLES = sorted(os.listdir('styles'))\n")
    check(models, n1=("Custom", {**GOOD, "style": "new"}), n2=save("1"))
    with pytest.raises(InvalidWorkflowError, match="more than 512"):
        check(models, n1=("Custom", {**GOOD, "width": 9999}), n2=save("1"))


@pytest.mark.usefixtures("numbers")
def test_a_link_of_another_type_is_reported(models: ModelFolders) -> None:
    core = ("Core", GOOD)
    check(models, n1=core, n2=("Look", {"image": ["1", 1]}), n3=("Look", {"image": ["2", 0]}))
    with pytest.raises(InvalidWorkflowError, match=r"image: is IMAGE,MASK, but output 0 of node 1"):
        check(models, n1=core, n2=("Look", {"image": ["1", 0]}))
    with pytest.raises(InvalidWorkflowError, match=r"output 7 of node 1 \(Core\), which"):
        check(models, n1=core, n2=("Look", {"image": ["1", 7]}))


def test_very_many_problems_are_counted(models: ModelFolders) -> None:
    nodes: dict[str, tuple[str, dict[str, Any]]] = {
        f"n{number}": ("Nothing", {}) for number in range(30)
    }
    with pytest.raises(MissingNodesError, match="for 30 reasons:(?s:.*)\n  and 10 more$") as caught:
        check(models, **nodes)
    assert len(caught.value.problems) == 30


def test_a_list_of_input_files_may_be_older_than_the_file(models: ModelFolders) -> None:
    (models.roots[0].parent / "input/new.latent").touch()
    inputs = {"image": ["1", 0], "method": "new.latent"}
    check(models, n1=("EmptyImage", {"width": 1}), n2=("ImageScale", inputs), n3=save("2"))


@pytest.mark.parametrize("text", ["a" * 5000, "a\0b", "../" * 2000])
def test_a_text_that_no_file_can_have_as_its_name_is_only_a_wrong_value(
    models: ModelFolders, text: str
) -> None:
    for class_type, name in (("LoadImage", "image"), ("UpscaleModelLoader", "model_name")):
        with pytest.raises(InvalidWorkflowError):
            check(models, n1=(class_type, {name: f"{text}x.pth"}), n2=save("1"))
    inputs = {"image": ["1", 0], "method": text}
    with pytest.raises(InvalidWorkflowError):
        check(models, n1=("EmptyImage", {"width": 1}), n2=("ImageScale", inputs), n3=save("2"))
