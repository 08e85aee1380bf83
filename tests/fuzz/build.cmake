# Configures and builds the fuzz preset of SOURCE in TREE.
find_program(clang clang++-16)
if(NOT clang)
  message(FATAL_ERROR "the fuzz tests need clang++-16 and libclang-rt-16-dev (cmake/debian-packages.txt): `make deps`")
endif()
execute_process(COMMAND ${CMAKE_COMMAND} --preset fuzz -B ${TREE} WORKING_DIRECTORY ${SOURCE}
  COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${CMAKE_COMMAND} --build ${TREE} COMMAND_ERROR_IS_FATAL ANY)
