# Uses the library for Windows as other projects do: installed, and moved to another place. Builds programs by find_package
# and by pkg-config, with the DLL and with the static library, and runs them.
#
# Run by cmake -P. Variables: SOURCE_DIR, BUILD_DIR, WORK_DIR, LIBDIR, GENERATOR, C_COMPILER, CXX_COMPILER, EMULATOR (runs
# programs; may be empty), PKG_CONFIG (may be empty), VERSION, DLL.

include("${CMAKE_CURRENT_LIST_DIR}/script_run.cmake")

file(REMOVE_RECURSE "${WORK_DIR}")
set(prefix "${WORK_DIR}/over there")
run("${CMAKE_COMMAND}" --install "${BUILD_DIR}" --prefix "${WORK_DIR}/first")
file(RENAME "${WORK_DIR}/first" "${prefix}")
foreach(file bin/${DLL} "${LIBDIR}/libbitcoin_support.dll.a" "${LIBDIR}/libbitcoin_support.a"
    include/bitcoin-support/bitcoin_support.h include/bitcoin-support/support/lockedpool.h)
  if(NOT EXISTS "${prefix}/${file}")
    message(FATAL_ERROR "${file} is missing")
  endif()
endforeach()

# Runs a program, which must print something that matches.
function(run_program program expected)
  run(${EMULATOR} "${program}")
  if(NOT output MATCHES "${expected}")
    message(FATAL_ERROR "${program}: ${output}")
  endif()
endfunction()

# A program finds the DLL beside itself.
set(binary "${WORK_DIR}/find_package")
set(project "${WORK_DIR}/project")
file(WRITE "${project}/secrets.cpp" [[
#include <support/allocators/secure.h>
#include <support/lockedpool.h>

#include <iostream>

int main()
{
    const SecureString passphrase{"a passphrase too long to live inside the string object"};
    std::cout << LockedPoolManager::Instance().stats().chunks_used << " secret in the pool\n";
}
]])
file(WRITE "${project}/CMakeLists.txt" [[
cmake_minimum_required(VERSION 3.22)
project(secrets LANGUAGES C CXX)
set(CMAKE_CXX_STANDARD 17)
find_package(bitcoin_support REQUIRED)
foreach(kind "" _static)
  add_executable(secrets${kind} secrets.cpp)
  target_link_libraries(secrets${kind} PRIVATE bitcoin_support::bitcoin_support${kind})
  add_executable(keep_secret${kind} ${EXAMPLES}/c/keep_secret.c)
  target_link_libraries(keep_secret${kind} PRIVATE bitcoin_support::bitcoin_support${kind})
endforeach()
]])
run("${CMAKE_COMMAND}" -S "${project}" -B "${binary}" -G "${GENERATOR}" -DCMAKE_BUILD_TYPE=Release
  -DCMAKE_SYSTEM_NAME=Windows "-DCMAKE_C_COMPILER=${C_COMPILER}" "-DCMAKE_CXX_COMPILER=${CXX_COMPILER}"
  -DCMAKE_EXE_LINKER_FLAGS=-static "-DCMAKE_PREFIX_PATH=${prefix}" "-DEXAMPLES=${SOURCE_DIR}/examples")
run("${CMAKE_COMMAND}" --build "${binary}")
# The static library is in the program.
run_program("${binary}/keep_secret_static.exe" "locked|swapped")
run_program("${binary}/secrets_static.exe" "1 secret in the pool")
# Control: without the DLL a program that needs it does not start.
execute_process(COMMAND ${EMULATOR} "${binary}/keep_secret.exe" RESULT_VARIABLE result OUTPUT_QUIET ERROR_QUIET)
if(result EQUAL 0)
  message(FATAL_ERROR "a program has started without the DLL that it should need")
endif()
file(COPY "${prefix}/bin/${DLL}" DESTINATION "${binary}")
run_program("${binary}/keep_secret.exe" "locked|swapped")
run_program("${binary}/secrets.exe" "1 secret in the pool")

if(PKG_CONFIG)
  set(binary "${WORK_DIR}/pkg_config")
  file(COPY "${prefix}/bin/${DLL}" DESTINATION "${binary}")
  set(ENV{PKG_CONFIG_PATH} "${prefix}/${LIBDIR}/pkgconfig")
  foreach(kind shared static)
    set(options "")
    if(kind STREQUAL "static")
      set(options -static)
    endif()
    string(REPLACE "-static" "--static" pkg_options "${options}")
    run("${PKG_CONFIG}" ${pkg_options} --cflags --libs bitcoin_support)
    separate_arguments(flags UNIX_COMMAND "${output}")
    list(REMOVE_ITEM flags "\n")
    run("${C_COMPILER}" -std=c99 "${SOURCE_DIR}/examples/c/keep_secret.c" ${options} ${flags} -o "${binary}/${kind}.exe")
    run_program("${binary}/${kind}.exe" "locked|swapped")
  endforeach()
  # The one needs the DLL, and the other does not.
  file(REMOVE "${binary}/${DLL}")
  run_program("${binary}/static.exe" "locked|swapped")
  execute_process(COMMAND ${EMULATOR} "${binary}/shared.exe" RESULT_VARIABLE result OUTPUT_QUIET ERROR_QUIET)
  if(result EQUAL 0)
    message(FATAL_ERROR "the program with the shared library has started without it")
  endif()
  run("${PKG_CONFIG}" --modversion bitcoin_support)
  if(NOT output MATCHES "^${VERSION}")
    message(FATAL_ERROR "pkg-config says version ${output}")
  endif()
endif()
