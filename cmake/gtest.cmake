# Debian's built GoogleTest; for another machine than this one, its sources, which Debian installs beside it.
if(CMAKE_CROSSCOMPILING)
  set(BUILD_GMOCK ON)
  set(INSTALL_GTEST OFF)
  add_subdirectory(/usr/src/googletest ${PROJECT_BINARY_DIR}/googletest EXCLUDE_FROM_ALL SYSTEM)
else()
  find_package(GTest REQUIRED)
endif()
