# How link_libraries.cmake and link_dll.cmake begin and end: they make nothing where all of it was made of the same before.

# begin(OUTPUTS <files> INPUTS <files> SETTINGS <words>): ends the script if the outputs are there, and were made of inputs
# with the same contents by the same script and settings. An input may be missing. Otherwise sets `work` to an empty folder.
# The file made_of in that folder lists the hashes of the inputs, in their order, before the settings.
macro(begin)
  cmake_parse_arguments(begin "" "" "OUTPUTS;INPUTS;SETTINGS" ${ARGN})
  set(work "${STATIC}.work")
  set(stamp "${work}/made_of")
  set(made_of "")
  foreach(file IN LISTS begin_INPUTS ITEMS "${CMAKE_CURRENT_LIST_FILE}" "${CMAKE_CURRENT_LIST_DIR}/link.cmake")
    if(EXISTS "${file}")
      file(SHA256 "${file}" hash)
      list(APPEND made_of "${hash}")
    endif()
  endforeach()
  list(APPEND made_of ${begin_SETTINGS})
  set(before "")
  if(EXISTS "${stamp}")
    file(READ "${stamp}" before)
  endif()
  foreach(file IN LISTS begin_OUTPUTS)
    if(NOT EXISTS "${file}")
      set(before "")
    endif()
  endforeach()
  if(before STREQUAL made_of)
    return()
  endif()
  file(REMOVE_RECURSE "${work}")
  file(MAKE_DIRECTORY "${work}")
endmacro()

# Runs a command in the folder, and fails with what it has printed if it fails.
function(run)
  execute_process(COMMAND ${ARGV} WORKING_DIRECTORY "${work}" RESULT_VARIABLE result
    OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    list(JOIN ARGV " " command)
    message(FATAL_ERROR "${command}\n${output}")
  endif()
endfunction()

# Notes that all outputs are there.
function(finish)
  file(REMOVE_RECURSE "${work}")
  file(MAKE_DIRECTORY "${work}")
  file(WRITE "${stamp}" "${made_of}")
endfunction()
