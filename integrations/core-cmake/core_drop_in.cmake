# Switches a Bitcoin Core tree over to bitcoin-support, without a patch:
#
#   cmake -B build -DCMAKE_PROJECT_BitcoinCore_INCLUDE=/abs/path/core_drop_in.cmake
#
# CMake includes this file right after Core's project() call. It puts our headers
# in front of Core's, takes support/cleanse.cpp and support/lockedpool.cpp out of
# every target that compiles them, and links our library in their place. It stops
# with an error where it cannot do all three: a build it lets through has none of
# Core's own code for locked memory in it.
#
# Options (-D):
#   BITCOIN_SUPPORT_SHARED=ON         link the shared library, not the static one
#   BITCOIN_SUPPORT_LIBRARY=<file>    the library itself, static or shared, and
#   BITCOIN_SUPPORT_INCLUDE_DIR=<dir> its headers; both are found by themselves
#                                     when this file stands in a source checkout
#                                     or where `cmake --install` put it
#
# Static or shared? The static library is hidden inside what it is linked into: a program
# that uses libbitcoinkernel.so and bitcoin-support side by side has two copies. Their C++
# code shares the pool of one; code in C or Rust uses the copy that it is linked with.
# With the shared library there is one.
#
# Installing Core: nothing here adds to what Core installs.
# - libbitcoinkernel.so holds the static library and needs nothing else. A static
#   libbitcoinkernel.a does not: its users link libbitcoin_support.a as well, and
#   libbitcoinkernel.pc, which is Core's, does not say so.
# - With the shared library, installed binaries find it where the system's loader
#   looks, or by -DCMAKE_INSTALL_RPATH_USE_LINK_PATH=ON (Core 29 and older skip
#   every rpath: there the loader's path alone counts).

include_guard(GLOBAL)

if(CMAKE_VERSION VERSION_LESS 3.22)
  message(FATAL_ERROR "bitcoin-support: the drop-in hook needs CMake 3.22 or newer, this is ${CMAKE_VERSION}.")
endif()

option(BITCOIN_SUPPORT_SHARED "Link bitcoin-support as a shared library." OFF)
set(BITCOIN_SUPPORT_LIBRARY "" CACHE FILEPATH "The bitcoin-support library (empty: found by the drop-in hook).")
set(BITCOIN_SUPPORT_INCLUDE_DIR "" CACHE PATH "The directory of bitcoin_support.h and support/ (empty: found by the drop-in hook).")

# Sets <candidates_var> to the library that cargo has built for the system of a cross build, and <searched_var> to what has been
# looked for. cargo build-c --target puts it into a directory with Rust's name of the system:
# <processor>-<vendor>-<system>-<environment>.
function(bitcoin_support_cross_candidates target_dir file_name candidates_var searched_var)
  string(TOLOWER "${CMAKE_SYSTEM_PROCESSOR}" processor)
  if(processor STREQUAL "amd64")
    set(processor "x86_64")
  elseif(processor STREQUAL "arm64")
    set(processor "aarch64")
  elseif(processor MATCHES "^arm")
    set(processor "(arm|armv7|thumbv7neon)")
  elseif(processor MATCHES "^i[3-6]86$")
    set(processor "i[56]86")
  elseif(processor STREQUAL "riscv64")
    set(processor "riscv64[a-z]*")
  endif()
  string(TOLOWER "${CMAKE_SYSTEM_NAME}" system)
  file(GLOB candidates "${target_dir}/*/release/${file_name}")
  list(FILTER candidates INCLUDE REGEX "/${processor}-[^/]*${system}[^/]*/release/[^/]*$")
  # Rust's names of Android's systems have linux in them too.
  if(NOT system STREQUAL "android")
    list(FILTER candidates EXCLUDE REGEX "-android[^/]*/release/[^/]*$")
  endif()
  set(searched "${target_dir}/<target>/release/${file_name}")
  list(LENGTH candidates count)
  if(count GREATER 1)
    list(JOIN candidates "\n  " found)
    message(FATAL_ERROR
      "bitcoin-support: which of these libraries is for ${CMAKE_SYSTEM_NAME} on ${CMAKE_SYSTEM_PROCESSOR}?\n"
      "  ${found}\n"
      "Name it with -DBITCOIN_SUPPORT_LIBRARY=<file>."
    )
  endif()
  # A build with CMAKE_SYSTEM_NAME for the machine's own system is a cross build to CMake.
  if(count EQUAL 0 AND CMAKE_SYSTEM_NAME STREQUAL CMAKE_HOST_SYSTEM_NAME AND CMAKE_SYSTEM_PROCESSOR STREQUAL CMAKE_HOST_SYSTEM_PROCESSOR)
    set(candidates "${target_dir}/release/${file_name}")
    set(searched "${searched}\n  ${candidates}")
  endif()
  set(${candidates_var} "${candidates}" PARENT_SCOPE)
  set(${searched_var} "${searched}" PARENT_SCOPE)
endfunction()

# Sets <include_var> and <library_var>, or stops.
function(bitcoin_support_locate include_var library_var)
  # On Windows the names depend on the compiler, which Core enables after this file is included.
  if(WIN32 AND BITCOIN_SUPPORT_SHARED)
    set(file_names libbitcoin_support.dll.a bitcoin_support.dll.lib)
  elseif(WIN32)
    set(file_names libbitcoin_support.a bitcoin_support.lib)
  elseif(BITCOIN_SUPPORT_SHARED)
    set(file_names ${CMAKE_SHARED_LIBRARY_PREFIX}bitcoin_support${CMAKE_SHARED_LIBRARY_SUFFIX})
  else()
    set(file_names ${CMAKE_STATIC_LIBRARY_PREFIX}bitcoin_support${CMAKE_STATIC_LIBRARY_SUFFIX})
  endif()
  set(candidates "")
  set(searched "")

  # In a checkout this file stands in integrations/core-cmake.
  cmake_path(GET CMAKE_CURRENT_FUNCTION_LIST_DIR PARENT_PATH checkout)
  cmake_path(GET checkout PARENT_PATH checkout)
  if(EXISTS "${checkout}/Cargo.toml")
    set(include_dir "${checkout}/include")
    set(target_dir "${checkout}/target")
    if(DEFINED ENV{CARGO_TARGET_DIR})
      # cargo takes a relative one from where it runs: the checkout.
      set(target_dir "$ENV{CARGO_TARGET_DIR}")
      cmake_path(ABSOLUTE_PATH target_dir BASE_DIRECTORY "${checkout}" NORMALIZE)
    endif()
    set(remedy "Build it with\n  cargo build-c\nin ${checkout}")
    foreach(file_name IN LISTS file_names)
      set(found "${target_dir}/release/${file_name}")
      set(place "${found}")
      if(CMAKE_CROSSCOMPILING)
        bitcoin_support_cross_candidates("${target_dir}" "${file_name}" found place)
      endif()
      list(APPEND candidates ${found})
      list(APPEND searched "${place}")
    endforeach()
    if(CMAKE_CROSSCOMPILING)
      set(remedy "Build it with\n  cargo build-c --target <Rust's name of ${CMAKE_SYSTEM_NAME} on ${CMAKE_SYSTEM_PROCESSOR}>\nin ${checkout}")
    endif()
  else()
    # <prefix>/share/bitcoin-support/cmake; the library's directory is lib,
    # lib64 or lib/<architecture>.
    cmake_path(SET prefix NORMALIZE "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../../..")
    set(include_dir "${prefix}include/bitcoin-support")
    foreach(file_name IN LISTS file_names)
      file(GLOB found "${prefix}lib*/${file_name}" "${prefix}lib/*/${file_name}")
      list(APPEND candidates ${found})
      list(APPEND searched "${prefix}lib/${file_name}")
    endforeach()
    set(remedy "Install bitcoin-support again under ${prefix}")
  endif()

  if(BITCOIN_SUPPORT_LIBRARY)
    set(candidates "${BITCOIN_SUPPORT_LIBRARY}")
    set(searched "${BITCOIN_SUPPORT_LIBRARY}")
  endif()
  set(library "")
  foreach(candidate IN LISTS candidates)
    if(NOT library AND EXISTS "${candidate}" AND NOT IS_DIRECTORY "${candidate}")
      set(library "${candidate}")
    endif()
  endforeach()
  if(NOT library)
    list(JOIN searched "\n  " searched)
    message(FATAL_ERROR
      "bitcoin-support: the library is missing:\n"
      "  ${searched}\n"
      "${remedy}, or name the library file with -DBITCOIN_SUPPORT_LIBRARY=<file>."
    )
  endif()

  if(BITCOIN_SUPPORT_INCLUDE_DIR)
    set(include_dir "${BITCOIN_SUPPORT_INCLUDE_DIR}")
  endif()
  foreach(header bitcoin_support.h support/cleanse.h support/lockedpool.h
                 support/allocators/secure.h support/allocators/zeroafterfree.h)
    if(NOT EXISTS "${include_dir}/${header}")
      message(FATAL_ERROR
        "bitcoin-support: the header ${header} is missing from\n"
        "  ${include_dir}\n"
        "Name the right directory with -DBITCOIN_SUPPORT_INCLUDE_DIR=<dir>."
      )
    endif()
  endforeach()

  cmake_path(ABSOLUTE_PATH library NORMALIZE)
  cmake_path(ABSOLUTE_PATH include_dir NORMALIZE)
  set(${library_var} "${library}" PARENT_SCOPE)
  set(${include_var} "${include_dir}" PARENT_SCOPE)
endfunction()

# Sets <out_var> to all targets defined in <directory> and below it.
function(bitcoin_support_list_targets directory out_var)
  get_property(targets DIRECTORY "${directory}" PROPERTY BUILDSYSTEM_TARGETS)
  get_property(subdirectories DIRECTORY "${directory}" PROPERTY SUBDIRECTORIES)
  foreach(subdirectory IN LISTS subdirectories)
    bitcoin_support_list_targets("${subdirectory}" more)
    list(APPEND targets ${more})
  endforeach()
  set(${out_var} "${targets}" PARENT_SCOPE)
endfunction()

function(bitcoin_support_unknown_layout)
  string(JOIN "" reason ${ARGV})
  message(FATAL_ERROR
    "bitcoin-support: this tree is laid out in a way the drop-in hook does not know, so Core's own code might stay in:\n"
    "  ${reason}\n"
    "Look for a newer bitcoin-support, or report the version of Core."
  )
endfunction()

# Takes Core's two sources out of <target>; appends to <removed_var> what it took.
function(bitcoin_support_remove_sources target removed_var)
  set(removed ${${removed_var}})
  foreach(property SOURCES INTERFACE_SOURCES)
    get_target_property(sources ${target} ${property})
    if(NOT sources)
      continue()
    endif()

    # A source may stand inside a generator expression, $<condition:file>, which
    # is valid with nothing behind the colon: the path alone goes.
    foreach(name cleanse lockedpool)
      string(REGEX REPLACE "(^|[;:,])[^;:,<>]*support/${name}\\.cpp" "\\1" remaining "${sources}")
      if(NOT remaining STREQUAL sources)
        list(APPEND removed "${name}.cpp from ${target}")
        set(sources "${remaining}")
        set_property(TARGET ${target} PROPERTY ${property} "${sources}")

        get_target_property(links ${target} LINK_LIBRARIES)
        if(NOT "core_interface" IN_LIST links)
          bitcoin_support_unknown_layout("${target} compiles support/${name}.cpp and does not link core_interface.")
        endif()
      endif()
    endforeach()

    # Under another spelling of their path? (bench/lockedpool.cpp is another file.)
    get_target_property(source_dir ${target} SOURCE_DIR)
    foreach(source IN LISTS sources)
      cmake_path(ABSOLUTE_PATH source BASE_DIRECTORY "${source_dir}" NORMALIZE)
      if(source MATCHES "/support/(cleanse|lockedpool)\\.cpp")
        bitcoin_support_unknown_layout("${target} still compiles ${source} (${property}).")
      endif()
    endforeach()
  endforeach()
  set(${removed_var} "${removed}" PARENT_SCOPE)
endfunction()

# Compiles and links a small program the way Core is going to be.
function(bitcoin_support_try_link include_dir library native_libraries)
  set(directory "${CMAKE_BINARY_DIR}/CMakeFiles/bitcoin_support")
  file(WRITE "${directory}/probe.cpp" [[
#include <support/allocators/secure.h>
#include <support/allocators/zeroafterfree.h>
#include <support/cleanse.h>
#include <support/lockedpool.h>
#ifndef BITCOIN_SUPPORT_ABI
#error Core's own headers come first
#endif
int main()
{
    SecureString secret{"secret"};
    memory_cleanse(secret.data(), secret.size());
    return LockedPoolManager::Instance().stats().used == 0;
}
]])
  unset(links CACHE)
  try_compile(links "${directory}" "${directory}/probe.cpp"
    CMAKE_FLAGS "-DINCLUDE_DIRECTORIES=${include_dir}"
    LINK_LIBRARIES "${library}" ${native_libraries}
    CXX_STANDARD 20
    CXX_STANDARD_REQUIRED ON
    OUTPUT_VARIABLE output
  )
  set(linked ${links})
  unset(links CACHE)
  if(NOT linked)
    message(FATAL_ERROR
      "bitcoin-support: a small program does not compile and link with\n"
      "  ${library}\n"
      "  ${include_dir}\n"
      "Both must be of one version, and the library built for this system (${CMAKE_SYSTEM_NAME} ${CMAKE_SYSTEM_PROCESSOR}).\n"
      "${output}"
    )
  endif()
endfunction()

# Runs when Core's own CMake code is through and all targets are known.
function(bitcoin_support_switch_over include_dir library)
  if(NOT TARGET core_interface)
    bitcoin_support_unknown_layout("there is no target core_interface.")
  endif()

  # Other code for locked memory than the two files we stand in for?
  file(GLOB support_sources RELATIVE "${PROJECT_SOURCE_DIR}/src/support"
    "${PROJECT_SOURCE_DIR}/src/support/*.cpp" "${PROJECT_SOURCE_DIR}/src/support/*/*.cpp")
  list(JOIN support_sources ", " support_sources)
  if(NOT support_sources STREQUAL "cleanse.cpp, lockedpool.cpp")
    bitcoin_support_unknown_layout(
      "expected cleanse.cpp and lockedpool.cpp in ${PROJECT_SOURCE_DIR}/src/support, found: ${support_sources}.")
  endif()

  # Which target compiles them differs between Core's versions, so all are asked.
  bitcoin_support_list_targets("${PROJECT_SOURCE_DIR}" targets)
  set(removed "")
  foreach(target IN LISTS targets)
    bitcoin_support_remove_sources(${target} removed)

    # A target that searches another directory before ours could see Core's headers.
    # All other targets inherit ours as the first one.
    get_target_property(type ${target} TYPE)
    if(type MATCHES "^(STATIC|SHARED|MODULE|OBJECT)_LIBRARY$|^EXECUTABLE$")
      get_target_property(directories ${target} INCLUDE_DIRECTORIES)
      list(GET directories 0 first)
      if(NOT first STREQUAL include_dir)
        bitcoin_support_unknown_layout("${target} searches ${first} for headers before ours.")
      endif()
    endif()
  endforeach()
  foreach(name cleanse lockedpool)
    if(NOT removed MATCHES "${name}\\.cpp from ")
      bitcoin_support_unknown_layout("no target compiles support/${name}.cpp.")
    endif()
  endforeach()

  # The directories a compiler searches anyway are left out of its command line by
  # CMake, and searched last.
  if(include_dir IN_LIST CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES)
    message(FATAL_ERROR "bitcoin-support: ${include_dir} is one of the compiler's own directories, which come after Core's. Keep the headers elsewhere.")
  endif()

  # The system's libraries that Rust's standard library needs.
  if(WIN32)
    set(native_libraries ws2_32 userenv ntdll bcrypt)
  elseif(APPLE)
    set(native_libraries "")
  else()
    set(native_libraries pthread ${CMAKE_DL_LIBS} m)
  endif()
  bitcoin_support_try_link("${include_dir}" "${library}" "${native_libraries}")

  # core_interface reaches every target of Core's; linking one of them, such as
  # bitcoin_crypto, would not: the kernel takes its object files, not its
  # libraries. The file is named by its path, because an imported target's include
  # directories are system ones to CMake, and those are searched last.
  target_link_libraries(core_interface INTERFACE "${library}" ${native_libraries})

  # libbitcoinkernel.so would export the whole of Rust's standard library.
  cmake_path(GET library FILENAME file_name)
  if(file_name MATCHES "\\.a$" AND NOT APPLE AND NOT WIN32)
    target_link_options(core_interface INTERFACE "LINKER:--exclude-libs,${file_name}")
  endif()

  list(JOIN removed ", " removed)
  message(STATUS "bitcoin-support: Core's ${removed} removed")
  message(STATUS "bitcoin-support: library ${library}")
  message(STATUS "bitcoin-support: headers ${include_dir}")
endfunction()

bitcoin_support_locate(bitcoin_support_include_dir bitcoin_support_library)

# Inherited by every directory below, and in front of all that Core adds there.
include_directories(BEFORE "${bitcoin_support_include_dir}")

cmake_language(EVAL CODE "
  cmake_language(DEFER CALL bitcoin_support_switch_over
    [[${bitcoin_support_include_dir}]] [[${bitcoin_support_library}]])
")
