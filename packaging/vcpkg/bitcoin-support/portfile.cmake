# The library for vcpkg, built from the checkout in which this port lies:
#
#   vcpkg install bitcoin-support --overlay-ports=packaging/vcpkg
#
# The build needs cargo, and the crates of Cargo.lock from the network or from cargo's earlier downloads: vcpkg has no ports of
# them.

get_filename_component(SOURCE_PATH "${CURRENT_PORT_DIR}/../../.." ABSOLUTE)

vcpkg_cmake_configure(
  SOURCE_PATH "${SOURCE_PATH}"
  OPTIONS
    -DBITCOIN_SUPPORT_BUILD_TESTS=OFF
    -DBITCOIN_SUPPORT_BUILD_BENCHMARKS=OFF
    -DBITCOIN_SUPPORT_BUILD_EXAMPLES=OFF
)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(PACKAGE_NAME bitcoin_support CONFIG_PATH lib/cmake/bitcoin_support)
vcpkg_fixup_pkgconfig()

# A triplet is for static or for shared libraries. The CMake package has a target for each library that is there.
set(unwanted "*.a")
if(VCPKG_LIBRARY_LINKAGE STREQUAL "static")
  set(unwanted "*.so*;*.dylib")
endif()
foreach(folder "${CURRENT_PACKAGES_DIR}/lib" "${CURRENT_PACKAGES_DIR}/debug/lib")
  foreach(pattern IN LISTS unwanted)
    file(GLOB libraries "${folder}/libbitcoin_support${pattern}")
    if(libraries)
      file(REMOVE ${libraries})
    endif()
  endforeach()
endforeach()
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/debug/include" "${CURRENT_PACKAGES_DIR}/debug/share"
  "${CURRENT_PACKAGES_DIR}/share/doc")

vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
