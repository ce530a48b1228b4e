# One image for the head node, the workers and the job's driver.
#   docker build -t detox-ray --build-arg ACCELERATOR=cpu .
#   docker run --rm --shm-size=2g -v "$PWD/runs:/home/detox/detox_ray/runs" detox-ray run configs/toy17.yaml
# For NVIDIA GPUs: --build-arg ACCELERATOR=gpu, and docker run --gpus all.
FROM python:3.11-slim-bookworm

ARG ACCELERATOR=cpu
# gcc and g++: Triton, DeepSpeed and vLLM compile small kernels when first used. git: the code revision in the manifest.
# rsync: `ray up` copies files by it. wget: the health checks, KubeRay's too.
# Debian keeps only the newest version of a package, so a pinned one would soon be gone.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends make gcc g++ git libnuma1 rsync wget \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 1000 --shell /bin/bash detox \
 && echo "export PATH=/home/detox/detox_ray/.venv/bin:\$PATH" > /etc/profile.d/detox_ray.sh \
 && install --directory --owner=1000 --group=1000 /nvme
USER 1000
WORKDIR /home/detox/detox_ray

# The locked dependencies change less often than the code: a layer of their own.
COPY --chown=1000 pyproject.toml Makefile ./
COPY --chown=1000 cluster/locks cluster/locks
RUN mkdir detox_ray && touch detox_ray/__init__.py README.md LICENSE \
 && make setup ACCELERATOR=${ACCELERATOR} PYTHON=python3 \
 && rm -rf ~/.cache/pip
COPY --chown=1000 . .
# The login shells that `ray up` starts read /etc/profile.d instead.
ENV PATH=/home/detox/detox_ray/.venv/bin:$PATH
HEALTHCHECK --interval=30s --timeout=15s --start-period=5m --retries=3 CMD ["cluster/healthcheck.sh"]
ENTRYPOINT ["detox-ray"]
CMD ["--help"]
