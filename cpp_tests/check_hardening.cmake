# The shared library is linked with the options that CMakeLists.txt gives: it stays loaded, the loader resolves all of its
# symbols at once and makes their addresses read-only, and its stack is not executable.
#
# Run by cmake -P. Variables: SHARED, READELF.

execute_process(COMMAND "${READELF}" -dlW "${SHARED}" OUTPUT_VARIABLE headers COMMAND_ERROR_IS_FATAL ANY)
foreach(wanted IN ITEMS "\\(FLAGS_1\\)[^\n]* NOW" "\\(FLAGS_1\\)[^\n]* NODELETE" "GNU_RELRO" "GNU_STACK [^\n]* RW ")
  if(NOT headers MATCHES "${wanted}")
    message(SEND_ERROR "${SHARED} has no ${wanted}:\n${headers}")
  endif()
endforeach()
