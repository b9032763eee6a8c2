# The hook has moved to integrations/core-cmake. This file keeps its old path working.
include("${CMAKE_CURRENT_LIST_DIR}/../integrations/core-cmake/core_drop_in.cmake")
