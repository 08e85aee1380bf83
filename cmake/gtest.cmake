# Debian's built GoogleTest; for another machine than this one, its sources, which Debian installs beside it.
if(CMAKE_CROSSCOMPILING)
  set(BUILD_GMOCK ON)
  set(INSTALL_GTEST OFF)
  add_subdirectory(/usr/src/googletest ${PROJECT_BINARY_DIR}/googletest EXCLUDE_FROM_ALL SYSTEM)
  foreach(library gtest gtest_main gmock gmock_main)
    target_compile_options(${library} PRIVATE -w)  # g++ 12 sees copies that overlap (GCC bug 105651); not ours to mend
  endforeach()
else()
  find_package(GTest REQUIRED)
endif()
