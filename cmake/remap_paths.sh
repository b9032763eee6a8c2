#!/bin/sh
#
# rustc, told to write no path of this machine into what it makes. cargo runs this script in place of rustc, which is
# the first argument (RUSTC_WRAPPER).
#
# Messages of panics and debug information name source files. They get the same names wherever the source lies: a
# crate from a registry, the same crate from a folder of vendored crates, and this library's own source. cargo tells
# rustc in CARGO_MANIFEST_DIR where the source of a crate is, and in OUT_DIR where its build script has written. It runs
# rustc in the folder of the workspace, which debug information names too.
#
#   BITCOIN_SUPPORT_RUSTC_WRAPPER   another program to be run in place of rustc, such as sccache
#   BITCOIN_SUPPORT_RUST_SOURCE     <folder>=<name> of the source of Rust's standard library, if it is installed

set -eu

if [ -n "${CARGO_MANIFEST_DIR-}" ]; then
    name=/$CARGO_PKG_NAME-$CARGO_PKG_VERSION
    # rustc takes the last name that fits a path, and each of these folders may lie in the one before it.
    set -- "$@" "--remap-path-prefix=$(pwd -P)=$name/workspace" "--remap-path-prefix=$CARGO_MANIFEST_DIR=$name"
    if [ -n "${OUT_DIR-}" ]; then set -- "$@" "--remap-path-prefix=$OUT_DIR=$name/out"; fi
    if [ -n "${BITCOIN_SUPPORT_RUST_SOURCE-}" ]; then set -- "$@" "--remap-path-prefix=$BITCOIN_SUPPORT_RUST_SOURCE"; fi
fi
if [ -n "${BITCOIN_SUPPORT_RUSTC_WRAPPER-}" ]; then exec "$BITCOIN_SUPPORT_RUSTC_WRAPPER" "$@"; fi
exec "$@"
