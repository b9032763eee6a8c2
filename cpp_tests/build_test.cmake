# Builds the library by CMake as a packager would: from a packaged crate, in a read-only folder, with cargo settings
# that name other folders, in a tree that had another build type before, with a generator for several configurations,
# for another system, and without the programs that some tests need.
#
# Run by cmake -P. Variables: SOURCE_DIR, WORK_DIR, CARGO, C_COMPILER, CXX_COMPILER, CLANG (may be empty), NINJA (may be
# empty).

include("${CMAKE_CURRENT_LIST_DIR}/script_run.cmake")

# Names and contents of all files in a folder.
function(fingerprint folder out_var)
  file(GLOB_RECURSE files LIST_DIRECTORIES true RELATIVE "${folder}" "${folder}/*")
  set(text "")
  foreach(file IN LISTS files)
    set(hash folder)
    if(NOT IS_DIRECTORY "${folder}/${file}")
      file(SHA256 "${folder}/${file}" hash)
    endif()
    string(APPEND text "${file} ${hash}\n")
  endforeach()
  set(${out_var} "${text}" PARENT_SCOPE)
endfunction()

function(expect_same a b)
  file(SHA256 "${a}" hash_a)
  file(SHA256 "${b}" hash_b)
  if(NOT hash_a STREQUAL hash_b)
    message(FATAL_ERROR "${a} is not ${b}")
  endif()
endfunction()

# Checks that the libraries in a folder are made of what cargo has built there.
function(expect_made_of folder cargo_folder)
  set(archive "${cargo_folder}/libbitcoin_support.a")
  if(EXISTS "${folder}/libbitcoin_support.a.work/made_of")
    file(SHA256 "${archive}" hash)
    file(READ "${folder}/libbitcoin_support.a.work/made_of" made_of)
    list(GET made_of 0 made_of)
    if(NOT made_of STREQUAL hash)
      message(FATAL_ERROR "the libraries in ${folder} are not made of ${archive}")
    endif()
  else()
    expect_same("${folder}/libbitcoin_support.a" "${archive}")
    expect_same("${folder}/libbitcoin_support.so" "${cargo_folder}/libbitcoin_support.so")
  endif()
endfunction()

# Settings that make release builds as fast to build as debug builds. The test checks only which of the two is
# used.
set(ENV{CARGO_PROFILE_RELEASE_LTO} off)
set(ENV{CARGO_PROFILE_RELEASE_OPT_LEVEL} 0)
set(ENV{CARGO_PROFILE_RELEASE_CODEGEN_UNITS} 16)
unset(ENV{CARGO_BUILD_TARGET})
unset(ENV{CARGO_TARGET_DIR})

if(EXISTS "${WORK_DIR}/home")
  run(chmod -R u+w "${WORK_DIR}/home")
endif()
file(REMOVE_RECURSE "${WORK_DIR}")
file(MAKE_DIRECTORY "${WORK_DIR}/home/.cargo")

# ---- The packaged crate, without tests and benchmarks in C++ ----

# First without the network; with it only if a crate has not been downloaded yet.
foreach(offline true false)
  set(ENV{CARGO_NET_OFFLINE} ${offline})
  execute_process(COMMAND "${CARGO}" package -p bitcoin-support --no-verify --allow-dirty --quiet --target-dir "${WORK_DIR}/package"
    WORKING_DIRECTORY "${SOURCE_DIR}" RESULT_VARIABLE result ERROR_VARIABLE error)
  if(result EQUAL 0)
    break()
  endif()
endforeach()
if(NOT result EQUAL 0)
  message(FATAL_ERROR "cargo package: ${error}")
endif()
file(GLOB crate "${WORK_DIR}/package/package/bitcoin-support-*.crate")
run("${CMAKE_COMMAND}" -E chdir "${WORK_DIR}/home" "${CMAKE_COMMAND}" -E tar xf "${crate}")
file(GLOB source "${WORK_DIR}/home/bitcoin-support-*")
foreach(path CMakeLists.txt benches/pool.rs cmake/core_drop_in.cmake integrations/core-cmake/core_drop_in.cmake)
  if(NOT EXISTS "${source}/${path}")
    message(FATAL_ERROR "${path} is not in the packaged crate")
  endif()
endforeach()
foreach(path cpp_tests benches/cpp tests/fuzz.rs fuzz scripts)
  if(EXISTS "${source}/${path}")
    message(FATAL_ERROR "${path} is in the packaged crate")
  endif()
endforeach()

# These settings alone would make cargo build in another folder and for a named target.
execute_process(COMMAND "${CARGO}" -vV OUTPUT_VARIABLE version COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCH "host: ([^\n]+)" matched "${version}")
set(host "${CMAKE_MATCH_1}")
file(WRITE "${WORK_DIR}/home/.cargo/config.toml"
  "[build]\ntarget = \"${host}\"\ntarget-dir = \"${WORK_DIR}/elsewhere\"\n")

# The folder is made read-only. Root can write there nevertheless, so its contents are also compared afterwards.
fingerprint("${source}" before)
run(chmod -R a-w "${source}")

# ---- The install preset, without Boost ----

set(build "${WORK_DIR}/build")
run("${CMAKE_COMMAND}" -E chdir "${source}" "${CMAKE_COMMAND}" --preset install -B "${build}" -DCMAKE_BUILD_TYPE=Debug
  "-DCMAKE_C_COMPILER=${C_COMPILER}" "-DCMAKE_CXX_COMPILER=${CXX_COMPILER}" -DCMAKE_DISABLE_FIND_PACKAGE_Boost=ON)
run("${CMAKE_COMMAND}" --build "${build}")
expect_made_of("${build}/lib" "${build}/cargo/${host}/debug")
run("${CMAKE_COMMAND}" --install "${build}" --prefix "${WORK_DIR}/prefix")
message(STATUS "a packaged crate builds and installs")

# ---- The same tree with another build type ----

run("${CMAKE_COMMAND}" "${build}" -DCMAKE_BUILD_TYPE=Release)
run("${CMAKE_COMMAND}" --build "${build}")
expect_made_of("${build}/lib" "${build}/cargo/${host}/release")
message(STATUS "a tree that was Debug builds Release")

# ---- Several configurations in one tree ----

if(NINJA)
  set(several "${WORK_DIR}/several")
  run("${CMAKE_COMMAND}" -S "${source}" -B "${several}" -G "Ninja Multi-Config" "-DCMAKE_MAKE_PROGRAM=${NINJA}"
    "-DCMAKE_C_COMPILER=${C_COMPILER}" "-DCMAKE_CXX_COMPILER=${CXX_COMPILER}" "-DBITCOIN_SUPPORT_CARGO_TARGET_DIR=${build}/cargo")
  foreach(pair "Debug debug" "Release release")
    string(REPLACE " " ";" pair "${pair}")
    list(GET pair 0 configuration)
    list(GET pair 1 folder)
    run("${CMAKE_COMMAND}" --build "${several}" --config ${configuration})
    expect_made_of("${several}/lib/${configuration}" "${build}/cargo/${host}/${folder}")
    run("${several}/examples/${configuration}/keep_secret_c_static")
    run("${CMAKE_COMMAND}" --install "${several}" --config ${configuration} --prefix "${WORK_DIR}/prefix_${configuration}")
    file(GLOB installed "${WORK_DIR}/prefix_${configuration}/lib*/libbitcoin_support.a"
      "${WORK_DIR}/prefix_${configuration}/lib/*/libbitcoin_support.a")
    expect_same("${installed}" "${several}/lib/${configuration}/libbitcoin_support.a")
  endforeach()
  message(STATUS "Debug and Release are kept apart in one tree")
endif()

# ---- A toolchain file ----

if(CLANG)
  set(other aarch64)
  if(host MATCHES "^aarch64")
    set(other x86_64)
  endif()
  file(WRITE "${WORK_DIR}/toolchain.cmake" "set(CMAKE_SYSTEM_NAME Linux)\nset(CMAKE_SYSTEM_PROCESSOR ${other})\n"
    "set(CMAKE_C_COMPILER [[${CLANG}]])\nset(CMAKE_C_COMPILER_TARGET ${other}-linux-gnu)\n"
    "set(CMAKE_CXX_COMPILER [[${CLANG}++]])\nset(CMAKE_CXX_COMPILER_TARGET ${other}-linux-gnu)\n"
    "set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)\n")
  execute_process(COMMAND "${CMAKE_COMMAND}" -S "${source}" -B "${WORK_DIR}/cross" -DBITCOIN_SUPPORT_BUILD_EXAMPLES=OFF
      "-DCMAKE_TOOLCHAIN_FILE=${WORK_DIR}/toolchain.cmake"
    RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  # If Rust has the standard library of the other system, it builds for it. Otherwise the error names the missing target.
  if(result EQUAL 0)
    file(GLOB_RECURSE rules "${WORK_DIR}/cross/*.make" "${WORK_DIR}/cross/*.ninja")
    set(output "")
    foreach(file IN LISTS rules)
      file(READ "${file}" text)
      string(APPEND output "${text}")
    endforeach()
    set(wanted "--target ${other}-unknown-linux-gnu")
  else()
    set(wanted "rustup target add ${other}-unknown-linux-gnu")
  endif()
  string(REGEX REPLACE "[ \n]+" " " output "${output}")
  string(FIND "${output}" "${wanted}" at)
  if(at EQUAL -1)
    message(FATAL_ERROR "\"${wanted}\" is not in:\n${output}")
  endif()
  message(STATUS "the build is for the system of the toolchain file: ${wanted}")
endif()

fingerprint("${source}" after)
if(NOT before STREQUAL after OR EXISTS "${WORK_DIR}/elsewhere")
  message(FATAL_ERROR "a file was written outside the build tree\n${before}\n${after}")
endif()
run(chmod -R u+w "${source}")
message(STATUS "nothing was written to the source")

# ---- Without programs that tests need ----

# Tests are left out then, and CMake says so. (Of the checkout: the packaged crate has no such tests.)
run("${CMAKE_COMMAND}" -S "${SOURCE_DIR}" -B "${WORK_DIR}/without" -DCMAKE_BUILD_TYPE=Release -DBITCOIN_SUPPORT_CORE_TESTS=OFF
  "-DCMAKE_C_COMPILER=${C_COMPILER}" "-DCMAKE_CXX_COMPILER=${CXX_COMPILER}" -DBITCOIN_SUPPORT_PKG_CONFIG= -DBITCOIN_SUPPORT_VALGRIND=)
foreach(program pkg-config valgrind)
  if(NOT output MATCHES "as there is no ${program}")
    message(FATAL_ERROR "nothing is said of the tests that need ${program}:\n${output}")
  endif()
endforeach()
message(STATUS "what is left out for lack of a program is said")
