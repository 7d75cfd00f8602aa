#!/usr/bin/env bash
# build.sh OUT_DIR [cargo options]: the Worker as ES module and WebAssembly in OUT_DIR, built with panic=unwind,
# so that a panic fails the one request that met it and not every request of its isolate.
set -euo pipefail
out=$1; shift
cd "$(dirname "$0")/.."
export WASM_BINDGEN_BIN=$PWD/.tools/bin/wasm-bindgen WASM_OPT_BIN=$PWD/node_modules/.bin/wasm-opt
export ESBUILD_BIN=$PWD/node_modules/.bin/esbuild
export PATH=$PWD/scripts/rust:$PWD/node_modules/.bin:$PWD/.tools/bin:$PATH
unset MAKEFLAGS MFLAGS   # cargo would wait for a job server that is not there
worker-build --release --panic-unwind --out-dir "$out" -- --locked "$@"
rm -rf "$out/worker"
node scripts/strip-names.mjs "$out"
