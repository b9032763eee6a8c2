# Links a shared library that contains a hidden copy of the library, and a program that uses both. The program
# contains another copy, or uses the shared one. Tries every pair of optimization levels, because each level makes the
# compiler inline other functions on either side.
#
# Run by cmake -P. Variables: COMPILER, INCLUDE_DIR, SOURCE_DIR, STATIC_LIBRARY, SHARED_LIBRARY, NATIVE_LIBRARIES,
# WORK_DIR, and optionally CONTROL=ON. With CONTROL each side calls its own copy, as if bitcoin_support::functions()
# did not exist, and at least one pair must fail.

include("${CMAKE_CURRENT_LIST_DIR}/script_run.cmake")

file(REMOVE_RECURSE "${WORK_DIR}")
file(MAKE_DIRECTORY "${WORK_DIR}")
cmake_path(GET SHARED_LIBRARY PARENT_PATH shared_dir)
set(compile "${COMPILER}" -std=c++17 -fPIC "-I${INCLUDE_DIR}" -c)
set(levels 0 1 2 3)
foreach(level IN LISTS levels)
  foreach(side library program)
    set(define -DSIDE=${side})
    if(CONTROL)
      list(APPEND define -Dfunctions=functions_of_${side})
    endif()
    run(${compile} -O${level} ${define} "${SOURCE_DIR}/two_copies_lib.cpp" -o "${WORK_DIR}/${side}${level}.o")
  endforeach()
  run(${compile} -O${level} ${define} "${SOURCE_DIR}/two_copies_main.cpp" -o "${WORK_DIR}/main${level}.o")
  run("${COMPILER}" -shared "${WORK_DIR}/library${level}.o" "${STATIC_LIBRARY}" ${NATIVE_LIBRARIES}
    -Wl,--exclude-libs,ALL -o "${WORK_DIR}/library${level}.so")
endforeach()

set(failures "")
foreach(of_library IN LISTS levels)
  foreach(of_program IN LISTS levels)
    foreach(kind static shared)
      if(kind STREQUAL "static")
        set(library "${STATIC_LIBRARY}" ${NATIVE_LIBRARIES})
      else()
        set(library "${SHARED_LIBRARY}" "-Wl,-rpath,${shared_dir}")
      endif()
      run("${COMPILER}" "${WORK_DIR}/main${of_program}.o" "${WORK_DIR}/program${of_program}.o" "${WORK_DIR}/library${of_library}.so"
        ${library} -o "${WORK_DIR}/program")
      execute_process(COMMAND "${WORK_DIR}/program" RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
      if(NOT result EQUAL 0)
        list(APPEND failures "library -O${of_library}, program -O${of_program}, ${kind}: ${result} ${output}")
      endif()
    endforeach()
  endforeach()
endforeach()

list(LENGTH failures count)
list(JOIN failures "\n  " text)
if(CONTROL AND count EQUAL 0)
  message(FATAL_ERROR "no pair fails in the control, so this test proves nothing")
elseif(NOT CONTROL AND count GREATER 0)
  message(FATAL_ERROR "${count} of 32 fail:\n  ${text}")
endif()
message(STATUS "${count} of 32 pairs fail:\n  ${text}")
