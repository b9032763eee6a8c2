# Shared by the tests that CMake scripts run: include() it.

# run(<command> <argument>...): runs a command, and ends the script with an error if the command fails. The
# variable `output` gets what the command printed.
function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    list(JOIN ARGV " " command)
    message(FATAL_ERROR "${command}\n${output}\nresult: ${result}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

# replace(<file> <text> <replacement>): replaces text in a file, which must have it.
function(replace file text replacement)
  file(READ "${file}" before)
  string(REPLACE "${text}" "${replacement}" after "${before}")
  if(before STREQUAL after)
    message(FATAL_ERROR "${file} does not have: ${text}")
  endif()
  file(WRITE "${file}" "${after}")
endfunction()
