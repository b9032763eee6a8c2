# shellcheck shell=bash
#
# Our library for a demo. Sourced by scripts/demo.

# The directory and the target are those of the CMake presets: what they have built is not built again.
host=$(rustc -vV | sed -n 's/^host: //p')
target_dir=${root:?}/build/cargo
# shellcheck disable=SC2034 # the files beside this one read it
include=$root/include

# build_library: sets `library`, and `soname` if it is the shared one. That one lies in $build/lib under this name, where
# the loader finds it.
build_library() {
    step "our library: cargo build-c" cargo cargo build-c --target "$host" --target-dir "$target_dir"
    static_library=$target_dir/$host/release/libbitcoin_support.a
    shared_library=${static_library%.a}.so
    # The loader asks for the library by its SONAME.
    soname=$(readelf -d "$shared_library" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
    mkdir -p "${build:?}/lib"
    ln -sf "$shared_library" "$build/lib/${soname:?$shared_library has no SONAME}"
    if ${shared:?}; then
        library=$shared_library
        export LD_LIBRARY_PATH=$build/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    else
        library=$static_library
    fi
    [[ -f $library ]] || die "cargo has not built $library"
}
