# Installs into a fresh prefix, builds both examples against it alone (CMake, and a compiler with pkg-config), and
# compares what they print and write with the in-tree program on the static library.
set(prefix ${WORK}/prefix)
file(REMOVE_RECURSE ${prefix} ${WORK}/build)
execute_process(COMMAND ${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix} OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
set(examples ${prefix}/share/m3vit/examples)
file(GLOB_RECURSE pc ${prefix}/m3vit.pc)
cmake_path(GET pc PARENT_PATH pc_dir)

function(build_with_cmake name)
  execute_process(COMMAND ${CMAKE_COMMAND} -S ${examples}/${name} -B ${WORK}/build/${name} -DCMAKE_PREFIX_PATH=${prefix}
    -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER=${CC} -DCMAKE_CXX_COMPILER=${CXX} -DCMAKE_TOOLCHAIN_FILE=${TOOLCHAIN}
    -DCMAKE_FIND_ROOT_PATH=${prefix}
    OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
  execute_process(COMMAND ${CMAKE_COMMAND} --build ${WORK}/build/${name} OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
endfunction()
build_with_cmake(embed_c)
build_with_cmake(embed_cpp)

function(build_with_pkg_config compiler source output)
  execute_process(COMMAND ${CMAKE_COMMAND} -E env PKG_CONFIG_PATH=${pc_dir} pkg-config --cflags --libs m3vit
    OUTPUT_VARIABLE flags OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  separate_arguments(flags UNIX_COMMAND "${flags}")
  cmake_path(GET pc_dir PARENT_PATH lib)
  execute_process(COMMAND ${compiler} ${ARGN} -O1 -Wall -Wextra -Wpedantic -Werror ${source} -o ${output} ${flags}
    -Wl,-rpath,${lib} COMMAND_ERROR_IS_FATAL ANY)
endfunction()
build_with_pkg_config(${CC} ${examples}/embed_c/main.c ${WORK}/build/embed_c_pc -std=c11)
build_with_pkg_config(${CXX} ${examples}/embed_cpp/main.cpp ${WORK}/build/embed_cpp_pc -std=c++20)

# Tasks in turn, back to the first: switching must leave no trace.
set(tasks depth semseg depth)
execute_process(COMMAND ${EMULATOR} ${IN_TREE} ${MODEL} ${tasks} --out ${WORK}/want.f32
  OUTPUT_VARIABLE want COMMAND_ERROR_IS_FATAL ANY)
foreach(program embed_c/embed_c embed_cpp/embed_cpp embed_c_pc embed_cpp_pc)
  file(REMOVE ${WORK}/got.f32)
  execute_process(COMMAND ${EMULATOR} ${WORK}/build/${program} ${MODEL} ${tasks} --out ${WORK}/got.f32
    OUTPUT_VARIABLE got COMMAND_ERROR_IS_FATAL ANY)
  if(NOT got STREQUAL want)
    message(FATAL_ERROR "${program} prints\n${got}in the tree:\n${want}")
  endif()
  execute_process(COMMAND ${CMAKE_COMMAND} -E compare_files ${WORK}/got.f32 ${WORK}/want.f32
    COMMAND_ERROR_IS_FATAL ANY)
  # The caller's mistakes: a message of the library, exit code 2, no crash.
  execute_process(COMMAND ${EMULATOR} ${WORK}/build/${program} ${MODEL} smell
    OUTPUT_QUIET ERROR_VARIABLE said RESULT_VARIABLE status)
  if(NOT status EQUAL 2 OR NOT said MATCHES "task: want one of [^\n]*depth[^\n]*, found smell")
    message(FATAL_ERROR "${program} with an unknown task: exit ${status}: ${said}")
  endif()
  execute_process(COMMAND ${EMULATOR} ${WORK}/build/${program} no-such.m3v depth
    OUTPUT_QUIET ERROR_VARIABLE said RESULT_VARIABLE status)
  if(NOT status EQUAL 2 OR NOT said MATCHES "no-such\\.m3v: want a readable file")
    message(FATAL_ERROR "${program} without a model: exit ${status}: ${said}")
  endif()
endforeach()
