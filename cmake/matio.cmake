# libmatio: MATLAB v5 files of the published archives.
find_path(M3VIT_MATIO_INCLUDE matio.h REQUIRED)
find_library(M3VIT_MATIO_LIBRARY matio REQUIRED)
if(NOT TARGET matio)
  add_library(matio SHARED IMPORTED GLOBAL)
  set_target_properties(matio PROPERTIES IMPORTED_LOCATION ${M3VIT_MATIO_LIBRARY}
    INTERFACE_INCLUDE_DIRECTORIES ${M3VIT_MATIO_INCLUDE})
endif()
