# Removes what the last `cmake --install` of a build tree has installed, of each component and of the whole. DESTDIR, in the
# environment, must be what it was then.
#
# Run by cmake -P. Variable: BUILD_DIR. CMake lists there what it installs: install_manifest.txt if it is the whole,
# install_manifest_<component>.txt if it is a component.

# Folders that are ours have our name in their path. They go when they are empty, and no others do.
function(remove_empty_folders folder)
  while(folder MATCHES "/bitcoin[-_]support(/|$)" AND IS_DIRECTORY "${folder}")
    file(GLOB entries "${folder}/*" "${folder}/.*")
    list(FILTER entries EXCLUDE REGEX "/\\.\\.?$")
    if(entries)
      return()
    endif()
    file(REMOVE_RECURSE "${folder}")
    cmake_path(GET folder PARENT_PATH folder)
  endwhile()
endfunction()

file(GLOB manifests "${BUILD_DIR}/install_manifest.txt" "${BUILD_DIR}/install_manifest_*.txt")
if(NOT manifests)
  message(FATAL_ERROR "Nothing has been installed from ${BUILD_DIR}.")
endif()
set(folders "")
foreach(manifest IN LISTS manifests)
  file(STRINGS "${manifest}" files)
  foreach(file IN LISTS files)
    set(file "$ENV{DESTDIR}${file}")
    # EXISTS is false for a link to a file that has been removed before it.
    if(EXISTS "${file}" OR IS_SYMLINK "${file}")
      file(REMOVE "${file}")
      if(EXISTS "${file}" OR IS_SYMLINK "${file}")
        message(FATAL_ERROR "${file} cannot be removed.")
      endif()
      message(STATUS "Removed: ${file}")
    endif()
    cmake_path(GET file PARENT_PATH folder)
    list(APPEND folders "${folder}")
  endforeach()
endforeach()
# The deepest first.
list(REMOVE_DUPLICATES folders)
list(SORT folders ORDER DESCENDING)
foreach(folder IN LISTS folders)
  remove_empty_folders("${folder}")
endforeach()
file(REMOVE ${manifests})
