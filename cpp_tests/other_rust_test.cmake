# Links the static library and another one that Rust's compiler has made into one program: in each order, by each
# linker that is installed, with link-time optimization, and entirely static. Runs what was linked. In the control, the
# archive of rustc is in the place of the installed library, and does not link.
#
# Run by cmake -P. Variables: SOURCE_DIR, WORK_DIR, INCLUDE_DIR, STATIC_LIBRARY, RUSTC_ARCHIVE, NATIVE_LIBRARIES, RUSTC,
# C_COMPILER, CLANG (may be empty).

include("${CMAKE_CURRENT_LIST_DIR}/script_run.cmake")

file(REMOVE_RECURSE "${WORK_DIR}")
file(MAKE_DIRECTORY "${WORK_DIR}")
set(other "${WORK_DIR}/libother.a")
run("${RUSTC}" --edition 2024 --crate-type staticlib --crate-name other "${SOURCE_DIR}/other_rust.rs" -o "${other}")

set(linked 0)
# link_and_run(<title> <compiler> <option>...): in each order of the libraries.
function(link_and_run title compiler)
  set(program "${WORK_DIR}/program")
  foreach(libraries "${STATIC_LIBRARY};${other}" "${other};${STATIC_LIBRARY}"
      "-Wl,--whole-archive;${STATIC_LIBRARY};${other};-Wl,--no-whole-archive"
      "-Wl,--whole-archive;${other};${STATIC_LIBRARY};-Wl,--no-whole-archive")
    run("${compiler}" -std=c99 "-I${INCLUDE_DIR}" ${ARGN} "${SOURCE_DIR}/other_rust.c" ${libraries} ${NATIVE_LIBRARIES} -o "${program}")
    run("${program}")
    math(EXPR linked "${linked} + 1")
  endforeach()
  set(linked ${linked} PARENT_SCOPE)
  message(STATUS "${title}: works in each order")
endfunction()

link_and_run("${C_COMPILER}" "${C_COMPILER}" -pthread)
link_and_run("without unused sections" "${C_COMPILER}" -pthread -Wl,--gc-sections)
link_and_run("link-time optimization" "${C_COMPILER}" -pthread -O2 -flto)
link_and_run("static" "${C_COMPILER}" -pthread -static)
link_and_run("static, position-independent" "${C_COMPILER}" -pthread -static-pie -fPIE)
foreach(linker gold lld mold)
  find_program(linker_${linker} NAMES ld.${linker})
  if(linker_${linker})
    link_and_run("${linker}" "${C_COMPILER}" -pthread -fuse-ld=${linker})
  else()
    message(STATUS "not installed: ${linker}")
  endif()
endforeach()
if(CLANG)
  link_and_run("${CLANG}" "${CLANG}" -pthread -O2)
endif()

# Control: if it is rustc's archive, both libraries have the standard library's names.
execute_process(COMMAND "${C_COMPILER}" -std=c99 "-I${INCLUDE_DIR}" -pthread "${SOURCE_DIR}/other_rust.c" "${RUSTC_ARCHIVE}" "${other}"
    ${NATIVE_LIBRARIES} -o "${WORK_DIR}/control"
  RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(result EQUAL 0 OR NOT output MATCHES "multiple definition")
  message(FATAL_ERROR "rustc's archive links with another one, so this test proves nothing: ${result}\n${output}")
endif()
message(STATUS "${linked} programs; control: rustc's archive does not link")
