# Debian's cross compiler (g++-aarch64-linux-gnu) for 64-bit ARM Linux; tests run under qemu-user where it is installed.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

# Programs of this machine; libraries of that one only. Of this machine's files what is the same everywhere serves both:
# headers, and the CMake packages of libraries that are nothing but headers.
set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu ${CMAKE_FIND_ROOT_PATH})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE BOTH)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)

find_program(M3VIT_QEMU NAMES qemu-aarch64 qemu-aarch64-static)
if(M3VIT_QEMU)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${M3VIT_QEMU} -L /usr/aarch64-linux-gnu)
endif()
