# The stripped library is at most 2 MiB.
file(MAKE_DIRECTORY ${WORK}/size)
execute_process(COMMAND ${STRIP} -o ${WORK}/size/libm3vit.so ${LIBRARY} COMMAND_ERROR_IS_FATAL ANY)
file(SIZE ${WORK}/size/libm3vit.so bytes)
math(EXPR most "2 * 1024 * 1024")
message(STATUS "libm3vit.so, stripped: ${bytes} bytes")
if(bytes GREATER most)
  message(FATAL_ERROR "libm3vit.so, stripped: want at most ${most} bytes, found ${bytes}")
endif()
