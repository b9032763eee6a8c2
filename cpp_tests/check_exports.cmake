# The shared library exports the functions that bitcoin_support.h declares, and no others; each has the version that
# names the ABI. The static library is one object that defines the same names for other objects, and no others.
# c_api_tests.c calls all of the functions.
#
# Run by cmake -P. Variables: HEADER, SHARED, STATIC, NM, TEST_SOURCE, VERSION (of the symbols; empty where rustc has
# linked the libraries: then the symbols have none, and the static library has more names), DLL_OBJDUMP (for a DLL alone,
# which has a table of its own for what it exports).

file(READ "${HEADER}" header)
string(REGEX REPLACE "//[^\n]*" "" header "${header}")
string(REGEX REPLACE "\n *\\*[^\n]*" "" header "${header}")
string(REGEX MATCHALL "[ *](bitcoin_support_[a-z_]+|memory_cleanse)\\(" declared "${header}")
list(TRANSFORM declared REPLACE "[ *(]" "")
list(REMOVE_DUPLICATES declared)
list(SORT declared)

# Compares the names that a library defines for others with the declared ones, which end in <suffix> there.
function(compare suffix)
  execute_process(COMMAND "${NM}" ${ARGN} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL " [A-Z] [^ \n]*\n" defined "${symbols}")
  list(TRANSFORM defined REPLACE "^ [A-Z] ([^\n]*)\n$" "\\1")
  # The version is a symbol too, which some tools print with its version.
  list(REMOVE_ITEM defined "${VERSION}" "${VERSION}@@${VERSION}")
  list(SORT defined)
  list(TRANSFORM declared APPEND "${suffix}" OUTPUT_VARIABLE expected)
  list(SORT expected)
  list(LENGTH defined count)
  if(NOT expected STREQUAL defined OR count EQUAL 0)
    message(FATAL_ERROR "${ARGN}\ndeclared: ${expected}\ndefined: ${defined}")
  endif()
endfunction()
set(suffix "")
if(VERSION)
  set(suffix "@@${VERSION}")
  compare("" -g --defined-only "${STATIC}")
endif()
if(DLL_OBJDUMP)
  execute_process(COMMAND "${DLL_OBJDUMP}" -p "${SHARED}" OUTPUT_VARIABLE headers COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX REPLACE "^.*Ordinal/Name Pointer. Table\n" "" table "${headers}")
  string(REGEX REPLACE "\n\n.*$" "\n" table "${table}")
  # Square brackets hide semicolons in CMake's lists.
  string(REPLACE "[" "" table "${table}")
  string(REPLACE "]" "=" table "${table}")
  string(REGEX MATCHALL "= [A-Za-z_][A-Za-z0-9_]*\n" exported "${table}")
  string(REPLACE "= " "" exported "${exported}")
  string(REPLACE "\n" "" exported "${exported}")
  list(SORT exported)
  if(NOT exported STREQUAL declared)
    message(FATAL_ERROR "declared: ${declared}\nexported: ${exported}")
  endif()
else()
  compare("${suffix}" -D --defined-only "${SHARED}")
endif()

file(READ "${TEST_SOURCE}" tests)
foreach(function IN LISTS declared)
  if(NOT tests MATCHES "[^a-z_]${function}\\(")
    message(SEND_ERROR "no test calls ${function}")
  endif()
endforeach()
list(LENGTH declared count)
message(STATUS "${count} functions declared, exported, and called by tests")
