# The policy server: policies and HTTP. No ROS, no simulator.
# Build from the repository root:  docker compose build server
FROM python:3.12-slim-bookworm

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
# A package index that serves the PyTorch build to take, such as its CPU builds; empty: pip's own,
# whose Linux build brings CUDA.
ARG TORCH_INDEX=""

WORKDIR /opt/rlco
COPY constraints.txt ./
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch==2.13.0
COPY datasets datasets
COPY calibration calibration
COPY evaluation evaluation
COPY trainer trainer
COPY policy_server policy_server
RUN pip install --constraint constraints.txt \
        ./datasets ./calibration ./evaluation ./trainer "./policy_server[server]"

RUN useradd --create-home rlco
USER rlco
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
# Inside a container the server must listen on all addresses, and then lets in only who has a key:
#   docker compose run --rm server key --keys /keys/keys.yaml --name bench-1 --role infer
ENTRYPOINT ["rlco-serve"]
CMD ["--host", "0.0.0.0", "--port", "8000", "--keys", "/keys/keys.yaml", "--checkpoint", "/checkpoint"]
