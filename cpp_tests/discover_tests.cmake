# Makes one CTest entry of every test case in a test program.
#
# Run by cmake -P when the program has been linked. Asks the program for its cases (--list_content,
# Boost.Test's tree by indentation) and writes a file that CTest includes. Variables: PROGRAM, EMULATOR (a command
# that runs it, or nothing), OUTPUT, and for the entries SUITE (the first part of their names), LABEL, SKIPPED (the
# text that a test prints when it cannot do its work) and TIMEOUT.

# The exit status does not count if there is a list: a fault outside main must fail the tests, and not the
# build.
execute_process(COMMAND ${EMULATOR} "${PROGRAM}" --list_content OUTPUT_VARIABLE out ERROR_VARIABLE err RESULT_VARIABLE result)

# Every line is a suite or a case: "<4 spaces for each level><name>*". A suite is a line before a deeper one.
string(REGEX MATCHALL "[^\n]+\\*(\n|:)" lines "${out}${err}")
list(APPEND lines "end*")
set(command "")
foreach(word IN LISTS EMULATOR PROGRAM)
  string(APPEND command " [[${word}]]")
endforeach()
set(path "")
set(previous "")
set(previous_depth -1)
set(entries "")
set(count 0)
foreach(line IN LISTS lines)
  string(REGEX MATCH "^( *)([^ *:]+)" matched "${line}")
  string(LENGTH "${CMAKE_MATCH_1}" depth)
  math(EXPR depth "${depth} / 4")
  set(name "${CMAKE_MATCH_2}")

  if(NOT previous STREQUAL "")
    if(depth GREATER previous_depth)
      list(APPEND path "${previous}")
    else()
      list(JOIN path "/" filter)
      string(REGEX REPLACE "^/" "" filter "${filter}/${previous}")
      string(APPEND entries
        "add_test([[${SUITE}.${previous}]]${command} [[--run_test=${filter}]])\n"
        "set_tests_properties([[${SUITE}.${previous}]] PROPERTIES LABELS [[${LABEL}]] TIMEOUT ${TIMEOUT} SKIP_REGULAR_EXPRESSION [[${SKIPPED}]])\n")
      math(EXPR count "${count} + 1")
      list(LENGTH path levels)
      while(levels GREATER depth)
        list(POP_BACK path)
        math(EXPR levels "${levels} - 1")
      endwhile()
    endif()
  endif()
  set(previous "${name}")
  set(previous_depth ${depth})
endforeach()
if(count EQUAL 0)
  message(FATAL_ERROR "${PROGRAM} --list_content (${result}) names no test cases:\n${out}${err}")
endif()
file(WRITE "${OUTPUT}" "${entries}")
