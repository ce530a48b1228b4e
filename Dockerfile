# One image for the head node, the workers and the job's driver.
#   docker build -t detox-ray --build-arg ACCELERATOR=cpu .
#   docker run --rm --shm-size=2g -v "$PWD/runs:/home/detox/detox_ray/runs" detox-ray run configs/toy17.yaml
# For NVIDIA GPUs: --build-arg ACCELERATOR=gpu, and docker run --gpus all.
FROM python:3.11-slim-bookworm

ARG ACCELERATOR=cpu
# gcc and g++: Triton, DeepSpeed and vLLM compile small kernels when first used. git: the code revision in the manifest.
RUN apt-get update \
 && apt-get install -y --no-install-recommends make gcc g++ git libnuma1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 1000 detox
USER detox
WORKDIR /home/detox/detox_ray

# The locked dependencies change less often than the code: a layer of their own.
COPY --chown=detox pyproject.toml Makefile ./
COPY --chown=detox cluster/locks cluster/locks
RUN mkdir detox_ray && touch detox_ray/__init__.py README.md LICENSE \
 && make setup ACCELERATOR=${ACCELERATOR} PYTHON=python3 \
 && rm -rf ~/.cache/pip
COPY --chown=detox . .
ENV PATH=/home/detox/detox_ray/.venv/bin:$PATH
ENTRYPOINT ["detox-ray"]
CMD ["--help"]
