# Debian's two opencv -dev packages that we use come without OpenCVConfig.cmake (that lies in the 1 GB libopencv-dev),
# so the config is tried first and the libraries are looked up by name otherwise.
find_package(OpenCV QUIET COMPONENTS core imgproc)
if(NOT OpenCV_FOUND)
  find_path(M3VIT_OPENCV_INCLUDE opencv2/core.hpp PATH_SUFFIXES opencv4 REQUIRED)
  foreach(part core imgproc)
    find_library(M3VIT_OPENCV_${part} opencv_${part} REQUIRED)
    add_library(opencv_${part} SHARED IMPORTED)
    set_target_properties(opencv_${part} PROPERTIES IMPORTED_LOCATION ${M3VIT_OPENCV_${part}}
      INTERFACE_INCLUDE_DIRECTORIES ${M3VIT_OPENCV_INCLUDE})
  endforeach()
endif()
