# Counts the instructions of the hot paths under callgrind and compares them with the numbers in
# instructions.txt. So a change that makes a path longer is noticed on any machine, however busy. (The
# benchmarks notice changes that cost time and no instructions.)
#
# Variables: PROGRAM (instructions.cpp, built with the optimized shared library), VALGRIND, COMPILERS (their
# versions: other compilers give other counts), PINNED (the file of numbers), WORK_DIR, and optionally
# SLOWED=ON (the program does everything twice; the test must fail).
#
#   cmake --build build/release --target pin_instructions      writes the present numbers to the file
#
# INSTRUCTIONS_PIN=1 in the environment makes any run of the test do the same.

cmake_minimum_required(VERSION 3.22)

# A path fails above its number plus this percentage. Below its number less this percentage, the test asks for
# a new number.
set(percent_above 5)
set(percent_below 10)
# instructions.cpp's LONG - SHORT.
set(operations 2000)

set(program_arguments "")
if(SLOWED)
  set(program_arguments slowed)
endif()
file(MAKE_DIRECTORY "${WORK_DIR}")
set(profile "${WORK_DIR}/callgrind.out")
execute_process(
  COMMAND "${VALGRIND}" --tool=callgrind "--callgrind-out-file=${profile}" --compress-strings=no --compress-pos=no
    "${PROGRAM}" ${program_arguments}
  OUTPUT_VARIABLE output ERROR_VARIABLE output RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "${PROGRAM} fails under callgrind (${result}):\n${output}")
endif()

# The calls of main: "cfn=<function>", "calls=1 ...", "<line> <inclusive cost>".
file(STRINGS "${profile}" lines REGEX "^(cfn=|calls=|[0-9]+ [0-9]+$)")
set(function "")
foreach(line IN LISTS lines)
  if(line MATCHES "^cfn=([a-z0-9_]+)_(short|long)$")
    set(function "${CMAKE_MATCH_1}_${CMAKE_MATCH_2}")
    if(CMAKE_MATCH_2 STREQUAL "long")
      list(APPEND paths "${CMAKE_MATCH_1}")
    endif()
  elseif(line MATCHES "^[0-9]+ ([0-9]+)$" AND function)
    set(cost_${function} "${CMAKE_MATCH_1}")
    set(function "")
  elseif(line MATCHES "^cfn=")
    set(function "")
  endif()
endforeach()

list(SORT paths)

# In hundredths, because CMake has only integers.
set(table "")
set(counted "")
foreach(path IN LISTS paths)
  if(NOT DEFINED cost_${path}_short OR NOT DEFINED cost_${path}_long)
    message(FATAL_ERROR "callgrind's profile does not have the cost of ${path}")
  endif()
  math(EXPR count_${path} "(${cost_${path}_long} - ${cost_${path}_short}) * 100 / ${operations}")
  math(EXPR whole "${count_${path}} / 100")
  math(EXPR rest "${count_${path}} % 100")
  if(rest LESS 10)
    set(rest "0${rest}")
  endif()
  set(text_${path} "${whole}.${rest}")
  string(APPEND counted "${path} ${whole}.${rest}\n")
endforeach()

if(PIN OR "$ENV{INSTRUCTIONS_PIN}")
  if(SLOWED)
    message(FATAL_ERROR "the slowed paths are not for pinning")
  endif()
  file(WRITE "${PINNED}"
    "# Instructions for one operation of each hot path, x86-64. Written by the target pin_instructions.\n"
    "# ${COMPILERS}\n${counted}")
  message("wrote ${PINNED}:\n${counted}")
  return()
endif()

file(STRINGS "${PINNED}" pinned_lines)
set(pinned_compilers "")
set(failures "")
set(hints "")
set(pinned_paths "")
foreach(line IN LISTS pinned_lines)
  if(line MATCHES "^# (.*rustc.*)$")
    set(pinned_compilers "${CMAKE_MATCH_1}")
  elseif(line MATCHES "^([a-z0-9_]+) ([0-9]+)\\.([0-9][0-9])$")
    set(path "${CMAKE_MATCH_1}")
    set(pinned_text "${CMAKE_MATCH_2}.${CMAKE_MATCH_3}")
    list(APPEND pinned_paths "${path}")
    if(NOT DEFINED count_${path})
      list(APPEND failures "${path} is pinned, but was not counted")
      continue()
    endif()
    string(REGEX REPLACE "^0+(.)" "\\1" pinned "${CMAKE_MATCH_2}${CMAKE_MATCH_3}")
    string(APPEND table "  ${path}: ${text_${path}}, pinned ${pinned_text}\n")
    math(EXPR most "${pinned} * (100 + ${percent_above})")
    math(EXPR least "${pinned} * (100 - ${percent_below})")
    math(EXPR count "${count_${path}} * 100")
    if(count GREATER most)
      list(APPEND failures "${path} takes ${text_${path}} instructions, more than the pinned ${pinned_text} by over ${percent_above} %")
    elseif(count LESS least)
      list(APPEND hints "${path} takes ${text_${path}} instructions, less than the pinned ${pinned_text}: pin it (target pin_instructions)")
    endif()
  endif()
endforeach()
foreach(path IN LISTS paths)
  if(NOT path IN_LIST pinned_paths)
    list(APPEND failures "${path} was counted (${text_${path}}), but is not pinned")
  endif()
endforeach()

message("instructions for one operation:\n${table}")
foreach(hint IN LISTS hints)
  message("hint: ${hint}")
endforeach()
if(failures)
  list(JOIN failures "\n  " text)
  if(NOT pinned_compilers STREQUAL COMPILERS AND NOT SLOWED)
    # CTest looks for this word.
    message("skipped: pinned with ${pinned_compilers}; this is ${COMPILERS}, with which\n  ${text}")
  else()
    message(FATAL_ERROR "more instructions than pinned:\n  ${text}\n"
      "If that is the price of something worth it, pin the new numbers: cmake --build <dir> --target pin_instructions")
  endif()
endif()
