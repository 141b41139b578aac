# The trainer: twin, stage I and II, sim evaluation. GPU by default; for a machine without one:
#   docker compose build trainer   (passes BASE=ubuntu:24.04; give TORCH_INDEX for a CPU torch)
ARG BASE=nvidia/cuda:12.8.1-base-ubuntu24.04
FROM ${BASE}

# SAPIEN renders with Vulkan: Mesa's software driver is here, NVIDIA's comes with the container
# runtime where `graphics` is asked for.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
ENV RAY_USAGE_STATS_ENABLED=0
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        libegl1 libgl1 libglib2.0-0t64 libvulkan1 libxext6 mesa-vulkan-drivers python3-venv \
    && rm -rf /var/lib/apt/lists/*

ARG TORCH_INDEX=""
WORKDIR /opt/rlco
ENV PATH="/opt/rlco/.venv/bin:$PATH"
COPY constraints.txt ./
RUN python3 -m venv .venv \
    && pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch==2.13.0
COPY datasets datasets
COPY calibration calibration
COPY evaluation evaluation
COPY trainer trainer
RUN pip install --constraint constraints.txt \
        ./datasets ./calibration ./evaluation "./trainer[sim,vla]"

RUN useradd --create-home rlco && install -d -o rlco /runs
USER rlco
WORKDIR /runs
ENTRYPOINT ["rlco-train"]
CMD ["--help"]
