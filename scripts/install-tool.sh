#!/usr/bin/env bash
# install-tool.sh CRATE VERSION [cargo install options]: builds one command line tool into .tools/bin.
set -euo pipefail
crate=$1 version=$2; shift 2
cd "$(dirname "$0")/.."
# A tool that runs for a second need not be optimised for minutes.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=256 CARGO_PROFILE_RELEASE_OPT_LEVEL=0
export CARGO_TARGET_DIR=target/tools   # shared, so that both tools compile a common dependency once
if [[ $crate == worker-build && $(uname) == Linux ]] && ! pkg-config --exists openssl 2>/dev/null; then
  set -- "$@" --features ureq/vendored   # no OpenSSL headers here: compile a private copy
fi
install() { cargo install "$crate" --version "$version" --root .tools --force --quiet "$@"; }
echo "installing $crate $version into .tools/ (once; a minute or two)" >&2
# With the dependencies its authors tested; if a registry mirror lacks one of them, with compatible ones.
install --locked "$@" || install "$@"
