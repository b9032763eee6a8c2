# Makes the two libraries for C on Windows of the archive that rustc writes. The static library is that archive. The DLL is
# linked from it, and exports the functions of bitcoin_support.h alone.
#
# Run by cmake -P. Variables:
#   ARCHIVE               what rustc wrote
#   STATIC, DLL, IMPORT   the libraries to be made; IMPORT is what programs link to use the DLL. They are only written if
#                         they change.
#   API                   a file with the names of the functions that are exported, one in each line
#   RESOURCE, RC          what Windows shows of the DLL, and the compiler for it; both may be empty
#   COMPILER              the C compiler, which finds the linker
#   LINK_OPTIONS          which name the libraries that it needs
#   DEBUG_INFO            whether debug information stays in

include("${CMAKE_CURRENT_LIST_DIR}/link.cmake")
begin(OUTPUTS "${STATIC}" "${DLL}" "${IMPORT}" INPUTS "${ARCHIVE}" "${API}" "${RESOURCE}"
  SETTINGS ${LINK_OPTIONS} ${COMPILER} "${RC}" "${DEBUG_INFO}")

file(COPY_FILE "${ARCHIVE}" "${STATIC}" ONLY_IF_DIFFERENT)

# The names in a definition file are the linker's roots, and all that it exports.
file(STRINGS "${API}" functions)
list(JOIN functions "\n  " lines)
file(WRITE "${work}/api.def" "EXPORTS\n  ${lines}\n")
cmake_path(GET DLL FILENAME dll)
cmake_path(GET IMPORT FILENAME import)
set(objects api.def "${STATIC}")
if(RESOURCE AND RC)
  run("${RC}" -i "${RESOURCE}" -o resource.o)
  list(APPEND objects resource.o)
endif()
if(NOT DEBUG_INFO)
  list(PREPEND LINK_OPTIONS -s)
endif()
# The import library names the DLL as it is called here.
run(${COMPILER} -shared -o "${dll}" ${objects} "-Wl,--out-implib,${import}" ${LINK_OPTIONS})
file(COPY_FILE "${work}/${dll}" "${DLL}" ONLY_IF_DIFFERENT)
file(COPY_FILE "${work}/${import}" "${IMPORT}" ONLY_IF_DIFFERENT)

finish()
