"""A handler that does for one job what worker-comfyui's does, in its order, with its libraries."""

import base64
import json
import time
import urllib.parse
import uuid

import requests
import runpod
import websocket

_ENGINE = "127.0.0.1:8188"
_BETWEEN_S = 0.05


def handler(job):
    """The job's pictures in base64."""
    _wait()
    client = uuid.uuid4().hex
    socket = websocket.WebSocket()
    socket.connect(f"ws://{_ENGINE}/ws?clientId={client}", timeout=10)
    document = {"prompt": job["input"]["workflow"], "client_id": client}
    prompt = requests.post(f"http://{_ENGINE}/prompt", json=document, timeout=30).json()[
        "prompt_id"
    ]
    while not _is_end(socket.recv(), prompt):
        pass
    socket.close()
    history = requests.get(f"http://{_ENGINE}/history/{prompt}", timeout=30).json()
    outputs = history[prompt]["outputs"].values()
    return {"images": [_picture(each) for output in outputs for each in output.get("images", [])]}


def _wait():
    while True:
        try:
            if requests.get(f"http://{_ENGINE}/", timeout=5).status_code == requests.codes.ok:
                return
        except requests.RequestException:
            pass
        time.sleep(_BETWEEN_S)


def _is_end(message, prompt):
    if not isinstance(message, str):
        return False
    told = json.loads(message)
    data = told.get("data", {})
    return told["type"] == "executing" and data["node"] is None and data["prompt_id"] == prompt


def _picture(named):
    query = urllib.parse.urlencode(
        {"filename": named["filename"], "subfolder": named["subfolder"], "type": named["type"]}
    )
    content = requests.get(f"http://{_ENGINE}/view?{query}", timeout=60).content
    data = base64.b64encode(content).decode()
    return {"filename": named["filename"], "type": "base64", "data": data}


runpod.serverless.start({"handler": handler})
