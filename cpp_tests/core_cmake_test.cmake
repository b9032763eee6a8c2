# Switches a small tree in the shape of Core's over to the library by integrations/core-cmake/core_drop_in.cmake: as a
# user, a distributor and a cross build configure it; and trees that must be refused.
#
# Run by cmake -P. Variables: SOURCE_DIR, WORK_DIR, GENERATOR, CXX_COMPILER, STATIC_LIBRARY, SHARED_LIBRARY, AR, NM,
# READELF.

cmake_minimum_required(VERSION 3.22)
include("${CMAKE_CURRENT_LIST_DIR}/script_run.cmake")

set(hook "-DCMAKE_PROJECT_BitcoinCore_INCLUDE=${SOURCE_DIR}/integrations/core-cmake/core_drop_in.cmake")
set(static "-DBITCOIN_SUPPORT_LIBRARY=${STATIC_LIBRARY}")
set(shared -DBITCOIN_SUPPORT_SHARED=ON "-DBITCOIN_SUPPORT_LIBRARY=${SHARED_LIBRARY}")
foreach(variable CFLAGS CXXFLAGS LDFLAGS LD_LIBRARY_PATH DESTDIR CARGO_TARGET_DIR CMAKE_TOOLCHAIN_FILE)
  unset(ENV{${variable}})
endforeach()
file(REMOVE_RECURSE "${WORK_DIR}")
set(tree "${CMAKE_CURRENT_LIST_DIR}/core_tree")

# refused(<name> <message> <argument of cmake>...): the configuration must fail and say why. `tree` is what is configured.
function(refused name expected)
  execute_process(COMMAND "${CMAKE_COMMAND}" -S "${tree}" -B "${WORK_DIR}/build/refused/${name}" -G "${GENERATOR}"
      "-DCMAKE_CXX_COMPILER=${CXX_COMPILER}" ${ARGN}
    RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  # CMake breaks the lines of a message.
  string(REGEX REPLACE "[ \n]+" " " said "${output}")
  string(FIND "${said}" "${expected}" at)
  if(result EQUAL 0 OR at EQUAL -1)
    message(FATAL_ERROR "${name}: cmake ended with ${result}, and should have failed with\n${expected}\n${output}")
  endif()
  message(STATUS "refused: ${name}")
endfunction()

# Whether a program has the tree's own code, and whether it has the library's.
function(code_of program own_var library_var)
  run("${NM}" "${program}")
  foreach(which own library)
    set(pattern " [Tt] (_Z14memory_cleansePvm|_ZN17LockedPoolManager5allocEm)\n")
    if(which STREQUAL "library")
      set(pattern " [Tt] bitcoin_support_locked_pool_alloc\n")
    endif()
    set(found FALSE)
    if(output MATCHES "${pattern}")
      set(found TRUE)
    endif()
    set(${${which}_var} ${found} PARENT_SCOPE)
  endforeach()
endfunction()

# expect(<name> <own code> <the static library's code> <argument of cmake>...): the tree is built without a warning, its
# program runs, says with whose headers it was compiled, and has the code that belongs to them.
function(expect name own library)
  run("${CMAKE_COMMAND}" -S "${tree}" -B "${WORK_DIR}/build/${name}" -G "${GENERATOR}" "-DCMAKE_CXX_COMPILER=${CXX_COMPILER}"
    -DCMAKE_BUILD_TYPE=RelWithDebInfo ${ARGN})
  run("${CMAKE_COMMAND}" --build "${WORK_DIR}/build/${name}")
  if(output MATCHES "warning")
    message(FATAL_ERROR "${name}: ${output}")
  endif()
  set(program "${WORK_DIR}/build/${name}/src/bitcoind")
  set(said "compiled with bitcoin-support")
  if(own)
    set(said "compiled with its own headers")
  endif()
  run("${program}")
  code_of("${program}" has_own has_library)
  if(NOT output STREQUAL "${said}\n" OR NOT has_own STREQUAL own OR NOT has_library STREQUAL library)
    message(FATAL_ERROR "${name}: own code ${has_own}, the library's ${has_library}, and the program says: ${output}")
  endif()
  set(program "${program}" PARENT_SCOPE)
  message(STATUS "built and run: ${name}")
endfunction()

# Installs the tree under /usr in a directory of its own. Sets `program`, and `dynamic` to what the loader reads.
function(install_tree name)
  set(ENV{DESTDIR} "${WORK_DIR}/installed/${name}")
  run("${CMAKE_COMMAND}" --install "${WORK_DIR}/build/${name}")
  unset(ENV{DESTDIR})
  set(program "${WORK_DIR}/installed/${name}/usr/bin/bitcoind")
  run("${READELF}" -d "${program}")
  set(program "${program}" PARENT_SCOPE)
  set(dynamic "${output}" PARENT_SCOPE)
endfunction()

# ---- A user's build ------------------------------------------------------------------------------

expect(without_the_hook TRUE FALSE) # control: this is how own code is seen
expect(static FALSE TRUE "${hook}" "${static}")

# ---- A distributor's build -----------------------------------------------------------------------

# Installed under /usr, hardened, with link-time optimization.
set(hardening "-g -O2 -flto=auto -ffat-lto-objects -fstack-protector-strong -Wformat -Werror=format-security -Wdate-time -D_FORTIFY_SOURCE=2")
set(linking "-flto=auto -Wl,-z,relro -Wl,-z,now")
set(distributor -DCMAKE_INSTALL_PREFIX=/usr -DCMAKE_BUILD_TYPE=None "-DCMAKE_CXX_FLAGS=${hardening}" "-DCMAKE_EXE_LINKER_FLAGS=${linking}")
expect(distributor FALSE TRUE "${hook}" "${static}" ${distributor})
install_tree(distributor)
run("${program}")
if(NOT dynamic MATCHES "BIND_NOW" OR dynamic MATCHES "RUNPATH|RPATH|libbitcoin_support")
  message(FATAL_ERROR "the flags of the linker are lost, or the program asks for more than before: ${dynamic}")
endif()

# With the shared library: what the rules for the run path say holds. `expect` has run the program in the build tree.
expect(run_path FALSE FALSE "${hook}" ${shared} ${distributor} -DCMAKE_INSTALL_RPATH_USE_LINK_PATH=ON)
install_tree(run_path)
run("${program}")
cmake_path(GET SHARED_LIBRARY PARENT_PATH shared_dir)
string(FIND "${dynamic}" "[${shared_dir}]" at)
if(at EQUAL -1)
  message(FATAL_ERROR "the run path is not ${shared_dir}: ${dynamic}")
endif()
set(ENV{LD_LIBRARY_PATH} "${shared_dir}")
expect(no_run_path FALSE FALSE "${hook}" ${shared} ${distributor} -DCMAKE_SKIP_RPATH=ON)
install_tree(no_run_path)
run("${program}")
unset(ENV{LD_LIBRARY_PATH})
if(dynamic MATCHES "RUNPATH|RPATH" OR NOT dynamic MATCHES "NEEDED[^\n]*libbitcoin_support\\.so")
  message(FATAL_ERROR "there is a run path, or the shared library is not asked for: ${dynamic}")
endif()
execute_process(COMMAND "${program}" RESULT_VARIABLE result OUTPUT_QUIET ERROR_QUIET)
if(result EQUAL 0) # control: the path of the loader has made the difference
  message(FATAL_ERROR "the program finds the library where it should not")
endif()

# ---- A cross build -------------------------------------------------------------------------------

# A checkout with libraries in cargo's directories, and a toolchain file that says what Core's depends says: the system,
# the compilers and tools, flags, and that only the directory of the file is searched for dependencies. The system is
# this one, so that the program runs; to CMake it is a cross build.
cmake_host_system_information(RESULT processor QUERY OS_PLATFORM)
set(checkout "${WORK_DIR}/checkout")
file(COPY "${SOURCE_DIR}/integrations" "${SOURCE_DIR}/include" DESTINATION "${checkout}")
file(WRITE "${checkout}/Cargo.toml" "")
file(WRITE "${WORK_DIR}/empty.cpp" "")
run("${CXX_COMPILER}" -c "${WORK_DIR}/empty.cpp" -o "${WORK_DIR}/empty.o")
run("${AR}" cr "${WORK_DIR}/empty.a" "${WORK_DIR}/empty.o")
file(WRITE "${WORK_DIR}/depends/toolchain.cmake" "
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_VERSION 3.17.0)
set(CMAKE_SYSTEM_PROCESSOR ${processor})
if(NOT DEFINED CMAKE_CXX_FLAGS_INIT)
  set(CMAKE_CXX_FLAGS_INIT \"-pipe -std=c++20\")
endif()
if(NOT DEFINED CMAKE_CXX_COMPILER)
  set(CMAKE_CXX_COMPILER ${CXX_COMPILER})
endif()
set(CMAKE_AR \"${AR}\")
set(CMAKE_FIND_USE_CMAKE_ENVIRONMENT_PATH OFF)
set(CMAKE_FIND_ROOT_PATH \"\${CMAKE_CURRENT_LIST_DIR}\")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
if(NOT \"/\" IN_LIST CMAKE_PREFIX_PATH)
  list(APPEND CMAKE_PREFIX_PATH \"/\")
endif()
")
set(cross "-DCMAKE_PROJECT_BitcoinCore_INCLUDE=${checkout}/integrations/core-cmake/core_drop_in.cmake")
set(toolchain "-DCMAKE_TOOLCHAIN_FILE=${WORK_DIR}/depends/toolchain.cmake")
file(MAKE_DIRECTORY "${checkout}/target/release")
file(CREATE_LINK "${STATIC_LIBRARY}" "${checkout}/target/release/libbitcoin_support.a" SYMBOLIC)
expect(depends FALSE TRUE "${cross}" "${toolchain}")

# The library of cargo build-c, without --target, is for this machine.
set(other aarch64)
if(processor STREQUAL "aarch64")
  set(other x86_64)
endif()
refused(other_processor "cargo build-c --target <Rust's name of Linux on ${other}>" "${cross}" -DCMAKE_SYSTEM_NAME=Linux
  -DCMAKE_SYSTEM_PROCESSOR=${other})

# Libraries for five systems: the one that fits is taken, and not the first.
file(REMOVE "${checkout}/target/release/libbitcoin_support.a")
foreach(target release ${processor}-linux-android/release ${other}-unknown-linux-gnu/release ${processor}-pc-windows-gnu/release)
  file(MAKE_DIRECTORY "${checkout}/target/${target}")
  file(COPY_FILE "${WORK_DIR}/empty.a" "${checkout}/target/${target}/libbitcoin_support.a")
endforeach()
file(MAKE_DIRECTORY "${checkout}/target/${processor}-unknown-linux-gnu/release")
file(CREATE_LINK "${STATIC_LIBRARY}" "${checkout}/target/${processor}-unknown-linux-gnu/release/libbitcoin_support.a" SYMBOLIC)
expect(cross FALSE TRUE "${cross}" "${toolchain}")
file(MAKE_DIRECTORY "${checkout}/target/${processor}-unknown-linux-musl/release")
file(COPY_FILE "${WORK_DIR}/empty.a" "${checkout}/target/${processor}-unknown-linux-musl/release/libbitcoin_support.a")
refused(two_systems "which of these libraries is for Linux on ${processor}?" "${cross}" "${toolchain}")

# ---- What must be refused ------------------------------------------------------------------------

refused(no_library "the library is missing: ${WORK_DIR}/nowhere.a" "${hook}" "-DBITCOIN_SUPPORT_LIBRARY=${WORK_DIR}/nowhere.a")
refused(no_headers "the header bitcoin_support.h is missing from ${WORK_DIR}" "${hook}" "${static}" "-DBITCOIN_SUPPORT_INCLUDE_DIR=${WORK_DIR}")
refused(other_library "a small program does not compile and link" "${hook}" "-DBITCOIN_SUPPORT_LIBRARY=${WORK_DIR}/empty.a")

# refused_tree(<name> <message> <file> <text> <replacement>): a tree that differs in one place.
function(refused_tree name expected file text replacement)
  file(COPY "${tree}/" DESTINATION "${WORK_DIR}/${name}")
  replace("${WORK_DIR}/${name}/${file}" "${text}" "${replacement}")
  set(tree "${WORK_DIR}/${name}")
  refused(${name} "${expected}" "${hook}" "${static}")
endfunction()

set(lists src/CMakeLists.txt)
file(WRITE "${WORK_DIR}/another_source/src/support/pagelocker.cpp" "")
refused_tree(another_source "found: cleanse.cpp, lockedpool.cpp, pagelocker.cpp." ${lists} "random.cpp" "random.cpp support/pagelocker.cpp")
refused_tree(no_interface "there is no target core_interface" CMakeLists.txt "core_interface INTERFACE" "common_interface INTERFACE")
refused_tree(not_linked "bitcoin_crypto compiles support/cleanse.cpp and does not link core_interface" ${lists}
  "target_link_libraries(bitcoin_crypto PRIVATE core_interface)" "")
refused_tree(no_source "no target compiles support/cleanse.cpp" ${lists} "  support/cleanse.cpp\n" "")
refused_tree(other_spelling "bitcoin_crypto still compiles" ${lists} "support/cleanse.cpp" "support/../support/./cleanse.cpp")
refused_tree(own_headers_first "bitcoind searches" ${lists} "install(" "target_include_directories(bitcoind BEFORE PRIVATE include)\ninstall(")
