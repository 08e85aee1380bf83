# The runtime for 64-bit ARM: cross-built by the preset's toolchain file, its kernels and its engine run under qemu-user.
find_program(compiler aarch64-linux-gnu-g++)
find_program(qemu NAMES qemu-aarch64 qemu-aarch64-static)
if(NOT compiler OR NOT qemu)
  message(STATUS "SKIPPED: needs Debian's g++-aarch64-linux-gnu and qemu-user")
  return()
endif()
set(build ${WORK}/aarch64)
execute_process(COMMAND ${CMAKE_COMMAND} -G Ninja -S ${SOURCE} -B ${build} -DCMAKE_BUILD_TYPE=Release
  -DCMAKE_TOOLCHAIN_FILE=${SOURCE}/cmake/toolchains/aarch64-linux-gnu.cmake -DM3VIT_RUNTIME_ONLY=ON
  OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${CMAKE_COMMAND} --build ${build} OUTPUT_FILE ${WORK}/aarch64.log RESULT_VARIABLE failed)
if(failed)
  file(READ ${WORK}/aarch64.log log)
  message(FATAL_ERROR "${log}")
endif()
# Emulation is some twenty times slower than the machine: a part of the random models, and what is not bound to one CPU.
set(emulate ${qemu} -L /usr/aarch64-linux-gnu)
execute_process(COMMAND ${emulate} ${build}/bin/runtime_test --gtest_brief=1 --gtest_filter=${FILTER}
  COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${CMAKE_CTEST_COMMAND} --test-dir ${build} -R "^install\\." --output-on-failure
  COMMAND_ERROR_IS_FATAL ANY)
