FROM debian:bookworm-slim@sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd
USER 0:0

ADD frame.tar /

RUN --mount=type=bind,source=layers/system,target=/mnt \
    LAYER=system \
    TARGET=image \
    INPUTS=/mnt/inputs \
    COMFY_HOME=/opt/comfy \
    VENV=/opt/comfy/.venv \
    SOURCE_DATE_EPOCH=324745308 \
    SYSTEM_PACKAGES='python3.11 ffmpeg' \
    PYTHON=python3.11 \
    IMAGE_USER=1000:1000 \
    sh /mnt/in_image.sh system.sh

RUN --mount=type=bind,source=layers/torch,target=/mnt --mount=type=bind,source=tools,target=/media --mount=type=cache,id=runpod-comfy-packages,target=/srv \
    LAYER=torch \
    TARGET=image \
    INPUTS=/mnt/inputs \
    COMFY_HOME=/opt/comfy \
    VENV=/opt/comfy/.venv \
    SOURCE_DATE_EPOCH=327800487 \
    PYTHON_VERSION=3.11 \
    PLATFORM=linux-x86_64 \
    PYTHON=python3.11 \
    UV=/media/uv \
    UV_CACHE_DIR=/srv \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never \
    sh /mnt/in_image.sh torch.sh

RUN --mount=type=bind,source=layers/torch-2,target=/mnt --mount=type=bind,source=tools,target=/media --mount=type=cache,id=runpod-comfy-packages,target=/srv \
    LAYER=torch-2 \
    TARGET=image \
    INPUTS=/mnt/inputs \
    COMFY_HOME=/opt/comfy \
    VENV=/opt/comfy/.venv \
    SOURCE_DATE_EPOCH=327800487 \
    PYTHON_VERSION=3.11 \
    PLATFORM=linux-x86_64 \
    PYTHON=python3.11 \
    UV=/media/uv \
    UV_CACHE_DIR=/srv \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never \
    sh /mnt/in_image.sh wheels.sh

RUN --mount=type=bind,source=layers/torch-3,target=/mnt --mount=type=bind,source=tools,target=/media --mount=type=cache,id=runpod-comfy-packages,target=/srv \
    LAYER=torch-3 \
    TARGET=image \
    INPUTS=/mnt/inputs \
    COMFY_HOME=/opt/comfy \
    VENV=/opt/comfy/.venv \
    SOURCE_DATE_EPOCH=327800487 \
    PYTHON_VERSION=3.11 \
    PLATFORM=linux-x86_64 \
    PYTHON=python3.11 \
    UV=/media/uv \
    UV_CACHE_DIR=/srv \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never \
    sh /mnt/in_image.sh wheels.sh

RUN --mount=type=bind,source=layers/wheels,target=/mnt --mount=type=bind,source=tools,target=/media --mount=type=cache,id=runpod-comfy-packages,target=/srv \
    LAYER=wheels \
    TARGET=image \
    INPUTS=/mnt/inputs \
    COMFY_HOME=/opt/comfy \
    VENV=/opt/comfy/.venv \
    SOURCE_DATE_EPOCH=321433558 \
    PYTHON_VERSION=3.11 \
    PLATFORM=linux-x86_64 \
    PYTHON=python3.11 \
    UV=/media/uv \
    UV_CACHE_DIR=/srv \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never \
    sh /mnt/in_image.sh wheels.sh

RUN --mount=type=bind,source=layers/handler,target=/mnt --mount=type=bind,source=tools,target=/media --mount=type=cache,id=runpod-comfy-packages,target=/srv \
    LAYER=handler \
    TARGET=image \
    INPUTS=/mnt/inputs \
    COMFY_HOME=/opt/comfy \
    VENV=/opt/comfy/.venv \
    SOURCE_DATE_EPOCH=327922572 \
    PYTHON=python3.11 \
    UV=/media/uv \
    UV_CACHE_DIR=/srv \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never \
    HANDLER_HOME=/opt/handler \
    WRITES=/opt/handler \
    sh /mnt/in_image.sh handler.sh

RUN --mount=type=bind,source=layers/core,target=/mnt \
    LAYER=core \
    TARGET=image \
    INPUTS=/mnt/inputs \
    COMFY_HOME=/opt/comfy \
    VENV=/opt/comfy/.venv \
    SOURCE_DATE_EPOCH=323168040 \
    PYTHON_VERSION=3.11 \
    PYTHON=python3.11 \
    WRITES=/opt/comfy \
    sh /mnt/in_image.sh core.sh

RUN --mount=type=bind,source=layers/models,target=/mnt \
    LAYER=models \
    TARGET=image \
    INPUTS=/mnt/inputs \
    COMFY_HOME=/opt/comfy \
    VENV=/opt/comfy/.venv \
    SOURCE_DATE_EPOCH=329573068 \
    PYTHON=python3.11 \
    IMAGE_USER=1000:1000 \
    sh /mnt/in_image.sh models.sh

RUN --mount=type=bind,source=layers/node-a,target=/mnt \
    LAYER=node:a \
    TARGET=image \
    INPUTS=/mnt/inputs \
    COMFY_HOME=/opt/comfy \
    VENV=/opt/comfy/.venv \
    SOURCE_DATE_EPOCH=331421933 \
    PYTHON_VERSION=3.11 \
    NODE_NAME=a \
    PYTHON=python3.11 \
    WRITES=/opt/comfy \
    sh /mnt/in_image.sh node.sh

RUN --mount=type=bind,source=layers/node-b.node,target=/mnt \
    LAYER=node:b.node \
    TARGET=image \
    INPUTS=/mnt/inputs \
    COMFY_HOME=/opt/comfy \
    VENV=/opt/comfy/.venv \
    SOURCE_DATE_EPOCH=324284981 \
    PYTHON_VERSION=3.11 \
    NODE_NAME=b.node \
    PYTHON=python3.11 \
    WRITES=/opt/comfy \
    sh /mnt/in_image.sh node.sh

RUN --mount=type=bind,source=layers/install-a,target=/mnt \
    LAYER=install:a \
    TARGET=image \
    INPUTS=/mnt/inputs \
    COMFY_HOME=/opt/comfy \
    VENV=/opt/comfy/.venv \
    SOURCE_DATE_EPOCH=316811264 \
    PYTHON_VERSION=3.11 \
    PLATFORM=linux-x86_64 \
    NODE_NAME=a \
    PYTHON=python3.11 \
    sh /mnt/in_image.sh install.sh

RUN --mount=type=bind,source=layers/check,target=/mnt \
    LAYER=check \
    TARGET=image \
    INPUTS=/mnt/inputs \
    COMFY_HOME=/opt/comfy \
    VENV=/opt/comfy/.venv \
    SOURCE_DATE_EPOCH=324541307 \
    PYTHON=python3.11 \
    HANDLER_PYTHON=/opt/handler/bin/python \
    CHECK_REPORT=/tmp/check-report.json \
    sh /mnt/in_image.sh check.sh

ADD workflows.tar /

ENV PATH="/opt/handler/bin:$PATH"
ENV HOME="/home/comfy"
ENV COMFY_BAKED_HOME="/opt/comfy"
ENV NVIDIA_VISIBLE_DEVICES="all"
ENV NVIDIA_DRIVER_CAPABILITIES="compute,utility"
ENV COMFY_VERSION_NAME="small"

WORKDIR /app
USER 1000:1000

ENTRYPOINT ["/opt/handler/bin/python", "-m", "rp_handler.main"]
CMD []

LABEL a.version="small"
LABEL b.title="ComfyUI \"small\" for \$5 \\ month"
