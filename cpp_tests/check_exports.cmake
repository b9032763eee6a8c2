# The shared library exports the functions that bitcoin_support.h declares, and no others. c_api_tests.c calls
# all of them.
#
# Run by cmake -P. Variables: HEADER, LIBRARY, NM, TEST_SOURCE.

file(READ "${HEADER}" header)
string(REGEX REPLACE "//[^\n]*" "" header "${header}")
string(REGEX MATCHALL "[ *](bitcoin_support_[a-z_]+|memory_cleanse)\\(" declared "${header}")
list(TRANSFORM declared REPLACE "[ *(]" "")
list(REMOVE_DUPLICATES declared)
list(SORT declared)

execute_process(COMMAND "${NM}" -D --defined-only "${LIBRARY}" OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[A-Za-z_][^ \n]*\n" exported "${symbols}")
list(TRANSFORM exported REPLACE "\n" "")
list(SORT exported)
list(LENGTH exported count)
if(NOT declared STREQUAL exported OR count EQUAL 0)
  message(FATAL_ERROR "declared: ${declared}\nexported: ${exported}")
endif()

file(READ "${TEST_SOURCE}" tests)
foreach(function IN LISTS declared)
  if(NOT tests MATCHES "[^a-z_]${function}\\(")
    message(SEND_ERROR "no test calls ${function}")
  endif()
endforeach()
message(STATUS "${count} functions declared, exported, and called by tests")
