# Uses the library as other projects do: installed, moved, or as a part of their own build. Builds and runs the
# example programs in each of these ways.
#
# Run by cmake -P. Variables: STEP, SOURCE_DIR, BUILD_DIR, WORK_DIR, LIBDIR, GENERATOR,
# C_COMPILER, CXX_COMPILER, PKG_CONFIG, MESON (may be empty), VERSION, ABI.

set(prefix "${WORK_DIR}/prefix")

include("${CMAKE_CURRENT_LIST_DIR}/script_run.cmake")

# Runs an example and checks its output.
function(run_example program)
  run(${ARGV})
  if(NOT output MATCHES "locked|swapped")
    message(FATAL_ERROR "${ARGV}: ${output}")
  endif()
  message(STATUS "${program}: ${output}")
endfunction()

function(install_to prefix)
  file(REMOVE_RECURSE "${prefix}")
  run("${CMAKE_COMMAND}" --install "${BUILD_DIR}" --prefix "${prefix}")
endfunction()

function(configure_and_build source binary)
  file(REMOVE_RECURSE "${binary}")
  run("${CMAKE_COMMAND}" -S "${source}" -B "${binary}" -G "${GENERATOR}" -DCMAKE_BUILD_TYPE=Release
    "-DCMAKE_C_COMPILER=${C_COMPILER}" "-DCMAKE_CXX_COMPILER=${CXX_COMPILER}" ${ARGN})
  run("${CMAKE_COMMAND}" --build "${binary}")
endfunction()

# Builds the examples on an installation that find_package finds.
function(consume_package prefix binary)
  configure_and_build("${SOURCE_DIR}/examples" "${binary}" "-DCMAKE_PREFIX_PATH=${prefix}")
  foreach(program keep_secret_c keep_secret_cpp keep_secret_c_static keep_secret_cpp_static)
    run_example("${binary}/${program}")
  endforeach()
  # It names each step, with the reason where it is not to be had.
  run("${binary}/harden_c")
  foreach(step not-dumpable no-core-file no-write-execute no-new-privileges lock-limit sealed-pool)
    if(NOT output MATCHES "${step}")
      message(FATAL_ERROR "harden_c does not name ${step}: ${output}")
    endif()
  endforeach()
  foreach(program closed_key_c sealed_key_cpp)
    run("${binary}/${program}")
    if(NOT output MATCHES "sealed")
      message(FATAL_ERROR "${program} has not sealed anything: ${output}")
    endif()
  endforeach()
  file(STRINGS "${binary}/CMakeCache.txt" found REGEX "^bitcoin_support_DIR:")
  if(NOT found MATCHES "=${prefix}/")
    message(FATAL_ERROR "another installation was found: ${found}")
  endif()
endfunction()

# Builds the examples on an installation by the flags of pkg-config: shared, and entirely static.
function(consume_pkg_config prefix binary)
  file(REMOVE_RECURSE "${binary}")
  file(MAKE_DIRECTORY "${binary}")
  set(ENV{PKG_CONFIG_PATH} "${prefix}/${LIBDIR}/pkgconfig")
  foreach(kind shared static)
    set(link_option "")
    set(pkg_option "")
    set(environment "LD_LIBRARY_PATH=${prefix}/${LIBDIR}")
    if(kind STREQUAL "static")
      set(link_option -static)
      set(pkg_option --static)
      set(environment --unset=LD_LIBRARY_PATH)
    endif()
    run("${PKG_CONFIG}" ${pkg_option} --cflags --libs bitcoin_support)
    string(STRIP "${output}" flags)
    message(STATUS "pkg-config ${pkg_option}: ${flags}")
    separate_arguments(flags UNIX_COMMAND "${flags}")
    run("${C_COMPILER}" -std=c99 "${SOURCE_DIR}/examples/c/keep_secret.c" ${link_option} ${flags} -o "${binary}/c_${kind}")
    run("${CXX_COMPILER}" -std=c++17 "${SOURCE_DIR}/examples/cpp/keep_secret.cpp" ${link_option} ${flags} -o "${binary}/cpp_${kind}")
    foreach(language c cpp)
      run_example("${CMAKE_COMMAND}" -E env ${environment} "${binary}/${language}_${kind}")
    endforeach()
  endforeach()
  run("${PKG_CONFIG}" --modversion bitcoin_support)
  if(NOT output MATCHES "^${VERSION}")
    message(FATAL_ERROR "pkg-config says version ${output}")
  endif()
endfunction()

if(STEP STREQUAL "install")
  install_to("${prefix}")
  foreach(file
      include/bitcoin-support/bitcoin_support.h
      include/bitcoin-support/support/cleanse.h
      include/bitcoin-support/support/lockedpool.h
      include/bitcoin-support/support/allocators/secure.h
      include/bitcoin-support/support/allocators/zeroafterfree.h
      share/bitcoin-support/cmake/core_drop_in.cmake
      share/bitcoin-support/autotools/core_drop_in.mk
      share/bitcoin-support/autotools/core_drop_in.sh
      share/bitcoin-support/autotools/core_drop_in.h
      share/bitcoin-support/autotools/core_drop_in_probe.cpp
      share/doc/bitcoin-support/LICENSE
      "${LIBDIR}/libbitcoin_support.a"
      "${LIBDIR}/libbitcoin_support.so.${VERSION}")
    if(NOT EXISTS "${prefix}/${file}" OR IS_SYMLINK "${prefix}/${file}")
      message(FATAL_ERROR "${file} is missing")
    endif()
  endforeach()
  foreach(link "libbitcoin_support.so libbitcoin_support.so.${ABI}" "libbitcoin_support.so.${ABI} libbitcoin_support.so.${VERSION}")
    string(REPLACE " " ";" link "${link}")
    list(GET link 0 from)
    list(GET link 1 to)
    file(READ_SYMLINK "${prefix}/${LIBDIR}/${from}" target)
    if(NOT target STREQUAL to)
      message(FATAL_ERROR "${from} points to ${target}")
    endif()
  endforeach()

elseif(STEP STREQUAL "find_package")
  consume_package("${prefix}" "${WORK_DIR}/find_package")

elseif(STEP STREQUAL "pkg_config")
  consume_pkg_config("${prefix}" "${WORK_DIR}/pkg_config")

elseif(STEP STREQUAL "moved")
  # Installs in one place and moves the installation to another.
  set(first "${WORK_DIR}/installed_here")
  set(second "${WORK_DIR}/moved/over there")
  install_to("${first}")
  file(REMOVE_RECURSE "${WORK_DIR}/moved")
  file(MAKE_DIRECTORY "${WORK_DIR}/moved")
  file(RENAME "${first}" "${second}")
  file(GLOB_RECURSE files "${second}/*.cmake" "${second}/*.pc" "${second}/*.h")
  foreach(file IN LISTS files)
    file(READ "${file}" text)
    foreach(path "${first}" "${SOURCE_DIR}" "${BUILD_DIR}")
      string(FIND "${text}" "${path}" at)
      if(NOT at EQUAL -1)
        message(FATAL_ERROR "${file} names ${path}")
      endif()
    endforeach()
  endforeach()
  consume_package("${second}" "${WORK_DIR}/moved/find_package")
  # The path has a space in it, which pkg-config quotes for a shell.
  consume_pkg_config("${second}" "${WORK_DIR}/moved/pkg_config")

elseif(STEP STREQUAL "version")
  set(project "${WORK_DIR}/version")
  file(WRITE "${project}/CMakeLists.txt" [[
cmake_minimum_required(VERSION 3.22)
project(version LANGUAGES NONE)
find_package(bitcoin_support ${WANTED} REQUIRED)
foreach(target bitcoin_support::bitcoin_support bitcoin_support::bitcoin_support_static)
  if(NOT TARGET ${target})
    message(FATAL_ERROR "${target} is missing")
  endif()
endforeach()
]])
  string(REGEX REPLACE "\\.[0-9]+$" "" minor "${VERSION}")
  foreach(wanted "${VERSION}" "${VERSION} EXACT" "${minor}" "${minor} EXACT" 99 "99 EXACT" "${minor}.99 EXACT" "${minor}0 EXACT")
    string(REPLACE " " ";" arguments "${wanted}")
    file(REMOVE_RECURSE "${project}/build")
    execute_process(COMMAND "${CMAKE_COMMAND}" -S "${project}" -B "${project}/build" -G "${GENERATOR}"
        "-DCMAKE_PREFIX_PATH=${prefix}" "-DWANTED=${arguments}"
      RESULT_VARIABLE result OUTPUT_QUIET ERROR_VARIABLE error)
    set(ours FALSE)
    if(wanted MATCHES "^(${VERSION}|${minor})( EXACT)?$")
      set(ours TRUE)
    endif()
    if(ours AND NOT result EQUAL 0)
      message(FATAL_ERROR "version ${wanted} is not found: ${error}")
    elseif(NOT ours AND result EQUAL 0)
      message(FATAL_ERROR "version ${wanted} is found")
    endif()
  endforeach()

elseif(STEP MATCHES "^(add_subdirectory|fetch_content)$")
  # The larger build does not see which way it is: it gets the two targets, and nothing else. What it has before and after
  # is compared: variables, cache, properties of its folder, targets, tests. Its own installation has none of our files.
  set(project "${WORK_DIR}/${STEP}")
  file(WRITE "${project}/CMakeLists.txt" [[
cmake_minimum_required(VERSION 3.22)
project(wallet VERSION 7.8.9 LANGUAGES C CXX)
enable_testing()

# Sets <out_var> to all that this folder has, one in each line. Our names begin with the project's. Others are left out that
# CMake itself and FetchContent change.
function(state out_var)
  set(lines "")
  foreach(property IN ITEMS VARIABLES COMPILE_OPTIONS COMPILE_DEFINITIONS INCLUDE_DIRECTORIES LINK_OPTIONS LINK_DIRECTORIES
      BUILDSYSTEM_TARGETS TESTS)
    get_property(values DIRECTORY "${CMAKE_SOURCE_DIR}" PROPERTY ${property})
    foreach(value IN LISTS values)
      if(NOT value MATCHES "^(BITCOIN_SUPPORT_|bitcoin_support_|FETCHCONTENT_|state_|_|ARG[CVN0-9]|CMAKE_CURRENT_|(out_var|lines|property|values?|shown)$)")
        set(shown "")
        if(property STREQUAL "VARIABLES")
          set(shown "=${${value}}")
        endif()
        string(APPEND lines "${property} ${value}${shown}\n")
      endif()
    endforeach()
  endforeach()
  get_cmake_property(values CACHE_VARIABLES)
  foreach(value IN LISTS values)
    if(NOT value MATCHES "^(BITCOIN_SUPPORT_|bitcoin_support_|FETCHCONTENT_)")
      string(APPEND lines "CACHE ${value}=$CACHE{${value}}\n")
    endif()
  endforeach()
  set(${out_var} "${lines}" PARENT_SCOPE)
endfunction()

include(FetchContent)
include(GNUInstallDirs)
state(state_before)
if(WAY STREQUAL "fetch_content")
  FetchContent_Declare(bitcoin_support SOURCE_DIR "${BITCOIN_SUPPORT_SOURCE_DIR}")
  FetchContent_MakeAvailable(bitcoin_support)
else()
  add_subdirectory("${BITCOIN_SUPPORT_SOURCE_DIR}" bitcoin_support)
endif()
if(LEAK)
  set(LEAKED 1)
  add_compile_options(-DLEAKED)
endif()
state(state_after)
if(NOT state_before STREQUAL state_after)
  file(WRITE "${CMAKE_BINARY_DIR}/before" "${state_before}")
  file(WRITE "${CMAKE_BINARY_DIR}/after" "${state_after}")
  execute_process(COMMAND diff before after WORKING_DIRECTORY "${CMAKE_BINARY_DIR}" OUTPUT_VARIABLE difference)
  message(FATAL_ERROR "the larger build is changed:\n${difference}")
endif()

get_property(targets DIRECTORY "${BITCOIN_SUPPORT_SOURCE_DIR}" PROPERTY BUILDSYSTEM_TARGETS)
get_property(subdirectories DIRECTORY "${BITCOIN_SUPPORT_SOURCE_DIR}" PROPERTY SUBDIRECTORIES)
get_property(tests DIRECTORY "${BITCOIN_SUPPORT_SOURCE_DIR}" PROPERTY TESTS)
if(NOT targets STREQUAL "bitcoin_support_cargo" OR subdirectories OR tests)
  message(FATAL_ERROR "a larger build gets more than the library: ${targets} ${subdirectories} ${tests}")
endif()
add_subdirectory("${BITCOIN_SUPPORT_SOURCE_DIR}/examples" examples)
install(FILES CMakeLists.txt DESTINATION share/wallet)
]])
  # Reuses the library that was built for this tree.
  set(options "-DBITCOIN_SUPPORT_SOURCE_DIR=${SOURCE_DIR}" "-DBITCOIN_SUPPORT_CARGO_TARGET_DIR=${CARGO_TARGET_DIR}" "-DWAY=${STEP}")
  configure_and_build("${project}" "${project}/build" ${options})
  foreach(program keep_secret_c keep_secret_cpp keep_secret_c_static keep_secret_cpp_static)
    run_example("${project}/build/examples/${program}")
  endforeach()
  file(REMOVE_RECURSE "${project}/prefix")
  run("${CMAKE_COMMAND}" --install "${project}/build" --prefix "${project}/prefix")
  file(GLOB_RECURSE installed RELATIVE "${project}/prefix" "${project}/prefix/*")
  if(NOT installed STREQUAL "share/wallet/CMakeLists.txt")
    message(FATAL_ERROR "a larger build installs ${installed}")
  endif()
  # The control: what leaks is seen.
  execute_process(COMMAND "${CMAKE_COMMAND}" "${project}/build" -DLEAK=ON RESULT_VARIABLE result OUTPUT_QUIET ERROR_VARIABLE error)
  if(result EQUAL 0 OR NOT error MATCHES "LEAKED=1" OR NOT error MATCHES "-DLEAKED")
    message(FATAL_ERROR "control: a leak is not noticed: ${error}")
  endif()

elseif(STEP STREQUAL "meson")
  set(ENV{PKG_CONFIG_PATH} "${prefix}/${LIBDIR}/pkgconfig")
  set(ENV{CC} "${C_COMPILER}")
  set(ENV{CXX} "${CXX_COMPILER}")
  foreach(kind shared static)
    set(build "${WORK_DIR}/meson_${kind}")
    file(REMOVE_RECURSE "${build}")
    run("${MESON}" setup "${build}" "${SOURCE_DIR}/examples" "-Dlibrary=${kind}")
    run("${MESON}" compile -C "${build}")
    foreach(language c cpp)
      run_example("${CMAKE_COMMAND}" -E env "LD_LIBRARY_PATH=${prefix}/${LIBDIR}" "${build}/keep_secret_${language}")
    endforeach()
  endforeach()

else()
  message(FATAL_ERROR "no step ${STEP}")
endif()
