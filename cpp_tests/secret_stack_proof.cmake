# Compiles secret_stack_proof.cpp by a compiler, without and with optimization, and runs it: a key that is derived on a
# secret stack is found nowhere, also if the function throws. The control: on the ordinary stack it is found.
#
# All functions are bound when the program starts. Where they are bound at their first call, the loader keeps the wide
# registers on the ordinary stack meanwhile, over what the control is to find: on processors with AMX, all of it.
#
# Run by cmake -P. Variables: COMPILER, INCLUDE_DIR, SOURCE_DIR, LIBRARY, WORK_DIR.

# Each compiler has a directory for itself.
cmake_path(GET COMPILER FILENAME compiler)
string(APPEND WORK_DIR "/${compiler}")
file(REMOVE_RECURSE "${WORK_DIR}")
file(MAKE_DIRECTORY "${WORK_DIR}")
cmake_path(GET LIBRARY PARENT_PATH library_dir)
foreach(level -O0 -O2)
  set(program "${WORK_DIR}/proof${level}")
  execute_process(COMMAND "${COMPILER}" -std=c++17 -Wall -Wextra -Wpedantic -Werror ${level} "-I${INCLUDE_DIR}"
    "${SOURCE_DIR}/secret_stack_proof.cpp" "${LIBRARY}" "-Wl,-z,now,-rpath,${library_dir}" -o "${program}"
    COMMAND_ERROR_IS_FATAL ANY)
  foreach(expected "inside 0" "throws 0" "outside 1")
    string(REPLACE " " ";" expected "${expected}")
    list(GET expected 0 where)
    list(GET expected 1 status)
    execute_process(COMMAND "${program}" ${where} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
    message(STATUS "${level} ${where}: ${output}")
    if(result EQUAL 77)
      message(STATUS "skipped: no process can be traced here")
    elseif(NOT result EQUAL status)
      message(SEND_ERROR "${level} ${where}: ${result} in place of ${status}")
    endif()
  endforeach()
endforeach()
