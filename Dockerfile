# An image for GPUs: `docker build -t shardline .`, then
# `docker run --gpus all --shm-size 1g -p 8080:80 -v $PWD/data:/data shardline --model-id MODEL`.
ARG CUDA_VERSION=12.8.1
ARG UBUNTU_VERSION=24.04

# ---- the wheel ----------------------------------------------------------------------------------
FROM ubuntu:${UBUNTU_VERSION} AS build
ARG RUST_VERSION=1.89.0
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential ca-certificates curl python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN curl -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --default-toolchain ${RUST_VERSION}
ENV PATH=/root/.cargo/bin:$PATH
WORKDIR /source
COPY . .
RUN python3 -m venv /build \
    && /build/bin/pip install --no-cache-dir "maturin>=1.16,<2" \
    && PATH=/build/bin:$PATH /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

# ---- the server ---------------------------------------------------------------------------------
# "devel": Triton compiles small programs against the CUDA headers when a shard starts.
FROM nvidia/cuda:${CUDA_VERSION}-devel-ubuntu${UBUNTU_VERSION}
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/shardline
ENV PATH=/opt/shardline/bin:$PATH
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir /wheels/shardline-*.whl && rm -r /wheels

# The conventions of text-generation-inference's image.
ENV PORT=80 \
    HOSTNAME=0.0.0.0 \
    HUGGINGFACE_HUB_CACHE=/data \
    HF_HUB_CACHE=/data \
    XDG_CACHE_HOME=/data/.cache
VOLUME /data
EXPOSE 80
ENTRYPOINT ["shardline-launcher"]
CMD ["--json-output"]
