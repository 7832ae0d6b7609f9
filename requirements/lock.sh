#!/bin/sh
# Renews the hash-pinned locks. No URL goes into them: a mirror's host must never be committed.
set -eu
cd "$(dirname "$0")/.."
UV=${UV:-.venv/bin/uv}
lock() { out=$1; shift; "$UV" pip compile --quiet --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate "$@" -o "requirements/$out.txt"; }
lock installer requirements/installer.in
lock run --extra onnx --extra probes --extra sklearn pyproject.toml
lock dev --extra dev pyproject.toml
