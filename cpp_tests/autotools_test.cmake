# Switches a small tree in the shape of Core's over to the library by integrations/autotools/core_drop_in.mk: a tree
# that was built without it before, outside of the sources, with the static and with the shared library; and trees
# that must be refused.
#
# Run by cmake -P. Variables: SOURCE_DIR, WORK_DIR, CXX_COMPILER, STATIC_LIBRARY, SHARED_LIBRARY, MAKE, AR, NM,
# READELF.

include("${CMAKE_CURRENT_LIST_DIR}/script_run.cmake")

set(fragment "${SOURCE_DIR}/integrations/autotools/core_drop_in.mk")
set(static "BITCOIN_SUPPORT_LIBRARY=${STATIC_LIBRARY}")
set(shared BITCOIN_SUPPORT_SHARED=1 "BITCOIN_SUPPORT_LIBRARY=${SHARED_LIBRARY}")
foreach(variable MAKEFLAGS MAKELEVEL MAKEFILES CPPFLAGS CXXFLAGS LDFLAGS LD_LIBRARY_PATH BITCOIN_SUPPORT_SHARED
    BITCOIN_SUPPORT_LIBRARY BITCOIN_SUPPORT_INCLUDE_DIR)
  unset(ENV{${variable}})
endforeach()
file(REMOVE_RECURSE "${WORK_DIR}")

# Copies the tree, and replaces text in its files: copy_tree(<name> [<file> <text> <replacement>]...).
function(copy_tree name)
  file(COPY "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/core_tree/" DESTINATION "${WORK_DIR}/${name}")
  replace("${WORK_DIR}/${name}/src/Makefile" "CXX = c++" "CXX = ${CXX_COMPILER}")
  while(ARGN)
    list(POP_FRONT ARGN file text replacement)
    replace("${WORK_DIR}/${name}/${file}" "${text}" "${replacement}")
  endwhile()
endfunction()

function(make name)
  run("${MAKE}" -j2 -C "${WORK_DIR}/${name}" ${ARGN})
  if(output MATCHES "warning")
    message(FATAL_ERROR "${name}: ${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

# refused(<name> <message> <argument of make>...): make must fail, say why, and leave no program.
function(refused name expected)
  execute_process(COMMAND "${MAKE}" -C "${WORK_DIR}/${name}" ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  string(FIND "${output}" "${expected}" at)
  if(result EQUAL 0 OR at EQUAL -1 OR EXISTS "${WORK_DIR}/${name}/src/bitcoind")
    message(FATAL_ERROR "${name}: make ended with ${result}, and should have failed with\n${expected}\n${output}")
  endif()
  message(STATUS "refused: ${name}")
endfunction()

# Whether a file has strong definitions of the tree's own code. In this library's headers they are inline, and
# memory_cleanse has C linkage.
function(has_own_code file out_var)
  run("${NM}" "${file}")
  set(found FALSE)
  if(output MATCHES " T (_Z14memory_cleansePvm|_ZN17LockedPoolManager8InstanceEv)\n")
    set(found TRUE)
  endif()
  set(${out_var} ${found} PARENT_SCOPE)
endfunction()

# The program runs, says with whose headers it was compiled, and has the code that belongs to them.
function(expect_switched name is_switched)
  make(${name} ${ARGN} check)
  set(said "compiled with its own headers")
  if(is_switched)
    set(said "compiled with bitcoin-support")
  endif()
  string(FIND "${output}" "${said}" at)
  has_own_code("${WORK_DIR}/${name}/src/bitcoind" program_has)
  has_own_code("${WORK_DIR}/${name}/src/libbitcoin_util.a" archive_has)
  if(at EQUAL -1 OR program_has STREQUAL is_switched OR archive_has STREQUAL is_switched)
    message(FATAL_ERROR "${name}: the program's own code ${program_has}, the archive's ${archive_has}, and it should say: ${said}\n${output}")
  endif()
endfunction()

function(expect_nothing_to_do name)
  make(${name} ${ARGN})
  if(output MATCHES " -o |cr libbitcoin")
    message(FATAL_ERROR "${name} is built again: ${output}")
  endif()
endfunction()

# ---- A tree that was built without the library before, outside of its sources -------------

set(sources "${CMAKE_CURRENT_LIST_DIR}/core_tree")
file(MAKE_DIRECTORY "${WORK_DIR}/tree/src")
file(COPY "${sources}/Makefile" DESTINATION "${WORK_DIR}/tree")
file(COPY "${sources}/src/Makefile" DESTINATION "${WORK_DIR}/tree/src")
replace("${WORK_DIR}/tree/src/Makefile" "CXX = c++" "CXX = ${CXX_COMPILER}")
replace("${WORK_DIR}/tree/src/Makefile" "srcdir = ." "srcdir = ${sources}/src")
expect_switched(tree FALSE) # control: this is how own code is seen

file(COPY_FILE "${STATIC_LIBRARY}" "${WORK_DIR}/library.a")
set(library "BITCOIN_SUPPORT_LIBRARY=${WORK_DIR}/library.a")
expect_switched(tree TRUE -f "${fragment}" ${library})
if(EXISTS "${WORK_DIR}/tree/src/support/libbitcoin_util_a-cleanse.o")
  message(FATAL_ERROR "the tree's own objects are still there")
endif()
run("${NM}" "${WORK_DIR}/tree/src/bitcoind")
if(NOT output MATCHES " [Tt] bitcoin_support_locked_pool_alloc\n")
  message(FATAL_ERROR "the library is not in the program: ${output}")
endif()
message(STATUS "a tree that was built before is built again")

# By MAKEFILES it is the same.
expect_nothing_to_do(tree -f "${fragment}" ${library})
set(ENV{MAKEFILES} "${fragment}")
expect_nothing_to_do(tree ${library})
file(RELATIVE_PATH relative "${WORK_DIR}/tree" "${fragment}")
set(ENV{MAKEFILES} "${relative}")
expect_nothing_to_do(tree ${library})
unset(ENV{MAKEFILES})
expect_nothing_to_do(tree "MAKEFILES=${fragment}" ${library})

# An object that make without the fragment has compiled since is compiled again.
file(REMOVE "${WORK_DIR}/tree/src/libbitcoin_util_a-random.o")
make(tree/src libbitcoin_util_a-random.o)
expect_switched(tree TRUE -f "${fragment}" ${library})
expect_nothing_to_do(tree -f "${fragment}" ${library})
message(STATUS "an object that was compiled without the fragment is compiled again")

# LIBS on the command line stays.
file(REMOVE "${WORK_DIR}/tree/src/bitcoind")
make(tree -f "${fragment}" ${library} LIBS=-lrt)
if(NOT output MATCHES " -o bitcoind [^\n]* -lrt [^\n]*library\\.a")
  message(FATAL_ERROR "LIBS=-lrt, or the library, is not linked: ${output}")
endif()

# A newer library is linked, and no source is compiled for it.
file(TOUCH "${WORK_DIR}/library.a")
make(tree -f "${fragment}" ${library})
if(NOT output MATCHES " -o bitcoind" OR output MATCHES " -c -o ")
  message(FATAL_ERROR "after the library has changed: ${output}")
endif()
message(STATUS "a newer library is linked")

# make without the fragment: what was compiled with this library's headers does not link with the tree's own code.
# The tree's own objects are there again then, and so is the archive that has them.
file(REMOVE "${WORK_DIR}/tree/src/bitcoind")
refused(tree "undefined reference to `bitcoin_support_" all)
has_own_code("${WORK_DIR}/tree/src/libbitcoin_util.a" archive_has)
if(NOT archive_has)
  message(FATAL_ERROR "make without the fragment has not made what the next step is about")
endif()
expect_switched(tree TRUE -f "${fragment}" ${shared})
run("${READELF}" -d "${WORK_DIR}/tree/src/bitcoind")
if(NOT output MATCHES "NEEDED[^\n]*libbitcoin_support\\.so")
  message(FATAL_ERROR "the program does not ask for the shared library: ${output}")
endif()
make(tree -f "${fragment}" ${shared} clean)
expect_switched(tree FALSE)
message(STATUS "without the fragment the tree does not link, or, cleaned, has its own code again")

# ---- A tree that includes with quotes, and an installed fragment ---------------------------

set(prefix "${WORK_DIR}/prefix")
file(COPY "${SOURCE_DIR}/integrations/autotools" DESTINATION "${prefix}/share/bitcoin-support")
file(COPY "${SOURCE_DIR}/include/" DESTINATION "${prefix}/include/bitcoin-support")
file(MAKE_DIRECTORY "${prefix}/lib/machine-linux-gnu")
file(CREATE_LINK "${STATIC_LIBRARY}" "${prefix}/lib/machine-linux-gnu/libbitcoin_support.a" SYMBOLIC)

set(quotes "")
foreach(include "random.cpp support/cleanse" "bitcoind.cpp support/allocators/secure" "bitcoind.cpp support/allocators/zeroafterfree")
  string(REPLACE " " ";" include "${include}")
  list(GET include 0 file)
  list(GET include 1 header)
  list(APPEND quotes "src/${file}" "<${header}.h>" "\"${header}.h\"")
endforeach()
copy_tree(quotes ${quotes})
expect_switched(quotes TRUE -f "${prefix}/share/bitcoin-support/autotools/core_drop_in.mk")
file(STRINGS "${WORK_DIR}/quotes/src/.deps/random.Po" reads REGEX "prefix/include/bitcoin-support/support/cleanse.h")
if(NOT reads)
  message(FATAL_ERROR "the installed headers have not been read")
endif()
message(STATUS "includes with quotes; the installed fragment finds what it was installed with")

# ---- What must be refused ------------------------------------------------------------------------

set(unknown "core_drop_in.mk does not know")
copy_tree(another_source)
file(WRITE "${WORK_DIR}/another_source/src/support/pagelocker.cpp" "")
refused(another_source "found: cleanse.cpp lockedpool.cpp pagelocker.cpp" -f "${fragment}" ${static})
copy_tree(another_command src/Makefile "$(CXX) $(DEFS) $(DEFAULT_INCLUDES) $(INCLUDES) $(bitcoind_CPPFLAGS)" "$(CXX) $(bitcoind_CPPFLAGS)")
refused(another_command "a command compiles without $(DEFS) $(DEFAULT_INCLUDES)" -f "${fragment}" ${static})
copy_tree(another_rule src/Makefile "\nall:" "\nbitcoind: support/libbitcoin_util_a-cleanse.o\nall:")
refused(another_rule "a rule depends on support/libbitcoin_util_a-cleanse.o" -f "${fragment}" ${static})
copy_tree(half src/Makefile "am__objects_1 = support/libbitcoin_util_a-lockedpool.$(OBJEXT)" "am__objects_1 =")
refused(half "no list of objects has both" -f "${fragment}" ${static})
copy_tree(no_list src/Makefile "support/libbitcoin_util_a-" "libbitcoin_util_a-")
refused(no_list "${unknown}" -f "${fragment}" ${static})
refused(no_list/src "${unknown}" -f "${fragment}" ${static})
file(MAKE_DIRECTORY "${WORK_DIR}/not_configured")
refused(not_configured "there is no Makefile in" -f "${fragment}" ${static})
copy_tree(other_rust src/Makefile "bitcoind_LDADD = " "LIBRUST = target/librustthing.a\nbitcoind_LDADD = ")
refused(other_rust "BITCOIN_SUPPORT_SHARED=1" -f "${fragment}" ${static})
make(other_rust -n -f "${fragment}" ${shared}) # control

copy_tree(appended src/Makefile "am__objects_1 = " "am__objects_1 += ")
refused(appended "Core's own objects are appended to am__objects_1" -f "${fragment}" ${static})
foreach(variable DEFAULT_INCLUDES LIBS CXXCOMPILE CXXLINK)
  set(no_variable "there is no variable ${variable}.")
  if(variable MATCHES "^CXX")
    set(no_variable "there are no variables CXXCOMPILE and CXXLINK.")
  endif()
  copy_tree(no_${variable} src/Makefile "\n${variable} = " "\nANOTHER_${variable} = ")
  refused(no_${variable} "${no_variable}" -f "${fragment}" ${static})
endforeach()
copy_tree(windows src/Makefile "host_os = linux-gnu" "host_os = mingw32")
refused(windows "bitcoin-support: core_drop_in.mk is not written for Windows.  Stop." -f "${fragment}" ${static})

copy_tree(other_guard ${quotes} src/support/cleanse.h "_CLEANSE_H" "_CLEANSE_HPP")
refused(other_guard "has another include guard than BITCOIN_SUPPORT_CLEANSE_H" -f "${fragment}" ${static})

copy_tree(own_headers_first src/Makefile "CXX = ${CXX_COMPILER}" "CXX = ${CXX_COMPILER} -I.")
refused(own_headers_first "the compiler reads support/cleanse.h" -f "${fragment}" ${static})
copy_tree(old_language src/Makefile "-std=c++17" "-std=c++11")
refused(old_language "a small program does not compile" -f "${fragment}" ${static})
copy_tree(no_library)
file(RELATIVE_PATH relative "${WORK_DIR}/no_library" "${fragment}")
refused(no_library "MAKEFILES needs absolute paths" "MAKEFILES=${relative}" ${static})
file(COPY "${SOURCE_DIR}/integrations/autotools" DESTINATION "${WORK_DIR}/a space")
refused(no_library "make cannot use paths with spaces: ${WORK_DIR}/a space/" -f "${WORK_DIR}/a space/autotools/core_drop_in.mk" ${static})
refused(no_library "make cannot use paths with spaces: ${STATIC_LIBRARY}, ${WORK_DIR}/a " -f "${fragment}" ${static}
  "BITCOIN_SUPPORT_INCLUDE_DIR=${WORK_DIR}/a space")
refused(no_library "the library is missing" -f "${fragment}" "BITCOIN_SUPPORT_LIBRARY=${WORK_DIR}/nowhere.a")
file(WRITE "${WORK_DIR}/empty.c" "")
run("${CXX_COMPILER}" -c "${WORK_DIR}/empty.c" -o "${WORK_DIR}/empty.o")
run("${AR}" cr "${WORK_DIR}/empty.a" "${WORK_DIR}/empty.o")
refused(no_library "a small program does not link" -f "${fragment}" "BITCOIN_SUPPORT_LIBRARY=${WORK_DIR}/empty.a")

# By MAKEFILES, make is refused in another project, and in a tree whose layout is not known. What a tree needs before
# it is configured, in depends, is made.
foreach(name before_configure unknown another_project)
  if(NOT name STREQUAL "another_project")
    copy_tree(${name})
  endif()
  file(WRITE "${WORK_DIR}/${name}/depends/Makefile" "all:\n\t@echo made\n")
endforeach()
file(REMOVE "${WORK_DIR}/before_configure/Makefile" "${WORK_DIR}/before_configure/src/Makefile")
file(WRITE "${WORK_DIR}/unknown/src/Makefile" "all:\n\t@echo made\n")
set(ENV{MAKEFILES} "${fragment}")
make(before_configure/depends)
if(NOT output MATCHES "\nmade\n")
  message(FATAL_ERROR "depends: ${output}")
endif()
refused(another_project/depends "${unknown}" ${static})
refused(unknown/depends "${unknown}" ${static})
file(REMOVE "${WORK_DIR}/unknown/Makefile")
refused(unknown/src "${unknown}" ${static})
unset(ENV{MAKEFILES})
