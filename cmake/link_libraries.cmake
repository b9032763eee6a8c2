# Makes the two libraries for C of the archive that rustc writes.
#
# The archive has Rust's standard library in it, with global names. Two such archives do not link into one program,
# and a shared library that links one would export those names. So the linker first makes one object of what the
# functions of bitcoin_support.h need, and all other names become local to it. The static library is that object.
# The shared library is linked from it, with versions for its symbols.
#
# Run by cmake -P. Variables:
#   ARCHIVE          what rustc wrote
#   STATIC, SHARED   the libraries to be made; they are only written if they change. Without SHARED, no shared library.
#   API              a file with the names of the functions that stay global, one in each line
#   VERSION_SCRIPT   for the shared library, as are
#   LINK_OPTIONS     which name its SONAME and the libraries that it needs
#   COMPILER         the C compiler, which finds the linker, with options that say for which system it links
#   OBJCOPY, AR, READELF   of the same system
#   DEBUG_INFO       whether debug information stays in

include("${CMAKE_CURRENT_LIST_DIR}/link.cmake")
begin(OUTPUTS "${STATIC}" ${SHARED} INPUTS "${ARCHIVE}" "${API}" "${VERSION_SCRIPT}"
  SETTINGS ${LINK_OPTIONS} ${COMPILER} "${OBJCOPY}" "${AR}" "${READELF}" "${DEBUG_INFO}")

# ---- One object ---------------------------------------------------------------

# The functions of the interface are the roots. What they do not reach is left out; initializers and finalizers stay.
file(STRINGS "${API}" functions)
list(TRANSFORM functions PREPEND "-Wl,-u," OUTPUT_VARIABLE roots)
# Of groups with the same name the linker takes one for the whole program. Their names become local, and so the groups
# must be dissolved.
run(${COMPILER} -r -nostdlib -Wl,--gc-sections -Wl,--force-group-allocation ${roots} -o whole.o "${ARCHIVE}")
run("${OBJCOPY}" "--keep-global-symbols=${API}" whole.o named.o)

# What was left out leaves the names of functions that it has called, and GNU's linker has made strong references of weak
# ones among them: the shared library would ask for functions that the system may not have. A reference that is needed
# belongs to a relocation, and --strip-unneeded tells them apart.
function(undefined object out_var)
  execute_process(COMMAND "${READELF}" -sW "${object}" WORKING_DIRECTORY "${work}" OUTPUT_FILE "${work}/symbols"
    COMMAND_ERROR_IS_FATAL ANY)
  file(STRINGS "${work}/symbols" names REGEX " UND [^ ]+$")
  list(TRANSFORM names REPLACE "^.* UND " "")
  set(${out_var} "${names}" PARENT_SCOPE)
endfunction()
run("${OBJCOPY}" --strip-unneeded named.o needed.o)
undefined(named.o unneeded)
undefined(needed.o needed)
list(REMOVE_ITEM unneeded ${needed})
list(JOIN unneeded "\n" lines)
file(WRITE "${work}/unneeded" "${lines}\n")

# Rust's standard library has its bitcode in it besides, for rustc. Several pieces in one object are no bitcode.
set(strip "--strip-symbols=${work}/unneeded" --remove-section=.llvmbc --remove-section=.llvmcmd)
if(NOT DEBUG_INFO)
  list(APPEND strip --strip-debug)
endif()
run("${OBJCOPY}" ${strip} named.o bitcoin_support.o)

# D: no times and no users in the archive.
run("${AR}" qcD static.a bitcoin_support.o)
file(COPY_FILE "${work}/static.a" "${STATIC}" ONLY_IF_DIFFERENT)

# ---- The shared library ---------------------------------------------------------

if(SHARED)
  run(${COMPILER} -shared -o shared.so bitcoin_support.o "-Wl,--version-script=${VERSION_SCRIPT}" ${LINK_OPTIONS})
  file(COPY_FILE "${work}/shared.so" "${SHARED}" ONLY_IF_DIFFERENT)
endif()

finish()
