"""Modules whose distribution has another name, from the metadata of the distributions."""

from __future__ import annotations

_DISTRIBUTIONS = {
    "Crypto": "pycryptodome",
    "Cython": "cython",
    "OpenSSL": "pyopenssl",
    "PIL": "pillow",
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "colour": "colour-science",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "faiss": "faiss-cpu",
    "ffmpeg": "ffmpeg-python",
    "fitz": "pymupdf",
    "git": "gitpython",
    "google.genai": "google-genai",
    "google.generativeai": "google-generativeai",
    "groundingdino": "groundingdino-py",
    "hydra": "hydra-core",
    "jwt": "pyjwt",
    "llama_cpp": "llama-cpp-python",
    "magic": "python-magic",
    "open_clip": "open-clip-torch",
    # setuptools 82 does not have it any more.
    "pkg_resources": "setuptools<82",
    "pptx": "python-pptx",
    "pywt": "pywavelets",
    "serial": "pyserial",
    "skimage": "scikit-image",
    "skbuild": "scikit-build",
    "sklearn": "scikit-learn",
    "socks": "pysocks",
    "usb": "pyusb",
    "websocket": "websocket-client",
    "yaml": "pyyaml",
    "zmq": "pyzmq",
}


def distribution_of(module: str) -> str | None:
    """The distribution, with a bound where it needs one, that has a module; None if its name may be
    that of the module.
    """
    return _DISTRIBUTIONS.get(module) or _DISTRIBUTIONS.get(module.partition(".")[0])
