# RTL as C++ for the tests and the simulator.
find_program(M3VIT_VERILATOR verilator)
find_program(M3VIT_YOSYS yosys)
if(NOT M3VIT_VERILATOR)
  message(FATAL_ERROR "verilator not found: install it (make deps), or configure with -DM3VIT_ACCEL=OFF")
endif()
execute_process(COMMAND ${M3VIT_VERILATOR} --getenv VERILATOR_ROOT
  OUTPUT_VARIABLE M3VIT_VERILATOR_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
set(M3VIT_VERILATOR_INCLUDE ${M3VIT_VERILATOR_ROOT}/include)
set(M3VIT_RTL_DIR ${PROJECT_SOURCE_DIR}/rtl)
# The only list of the RTL's files; packages and leaves first.
file(STRINGS ${M3VIT_RTL_DIR}/files.txt M3VIT_RTL_FILES REGEX "^[^#]")
set_property(DIRECTORY ${PROJECT_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${M3VIT_RTL_DIR}/files.txt)
list(TRANSFORM M3VIT_RTL_FILES PREPEND ${M3VIT_RTL_DIR}/)

# Verilator's own library: not ours to warn about.
add_library(m3vit_verilated STATIC
  ${M3VIT_VERILATOR_INCLUDE}/verilated.cpp ${M3VIT_VERILATOR_INCLUDE}/verilated_threads.cpp)
target_include_directories(m3vit_verilated SYSTEM PUBLIC
  ${M3VIT_VERILATOR_INCLUDE} ${M3VIT_VERILATOR_INCLUDE}/vltstd)
target_compile_options(m3vit_verilated PRIVATE -w)
target_link_libraries(m3vit_verilated PUBLIC Threads::Threads)

# m3vit_verilate(name TOP module [PARAMS W=8 …] [PREFIX class] [RTL dir]): a library whose header <class>.h declares the
# class; it is called `name` unless PREFIX says otherwise. RTL: another copy of the sources.
function(m3vit_verilate name)
  cmake_parse_arguments(PARSE_ARGV 1 A "" "TOP;PREFIX;RTL" "PARAMS")
  set(dir ${CMAKE_CURRENT_BINARY_DIR}/${name}.dir)
  if(NOT A_PREFIX)
    set(A_PREFIX ${name})
  endif()
  set(files ${M3VIT_RTL_FILES})
  if(A_RTL)
    list(TRANSFORM files REPLACE "^${M3VIT_RTL_DIR}" "${A_RTL}")
  endif()
  list(TRANSFORM A_PARAMS PREPEND -G)
  add_custom_command(OUTPUT ${dir}/unit.cpp ${dir}/${A_PREFIX}.h
    COMMAND ${CMAKE_COMMAND} -E rm -rf ${dir}
    COMMAND ${M3VIT_VERILATOR} --cc -O3 --x-assign fast --x-initial fast --assert -DM3_ASSERT -Wno-fatal --Mdir ${dir}
      --prefix ${A_PREFIX} --top-module ${A_TOP} ${A_PARAMS} ${M3VIT_RTL_DIR}/lint/waivers.vlt ${files}
    COMMAND ${CMAKE_COMMAND} -D DIR=${dir} -P ${PROJECT_SOURCE_DIR}/cmake/verilated_unit.cmake
    DEPENDS ${files} ${M3VIT_RTL_DIR}/lint/waivers.vlt
    COMMENT "Verilating ${A_TOP} ${A_PARAMS}" VERBATIM)
  set_property(DIRECTORY APPEND PROPERTY M3VIT_RTL_HEADERS ${dir}/${A_PREFIX}.h)
  add_library(${name} STATIC EXCLUDE_FROM_ALL ${dir}/unit.cpp)
  target_include_directories(${name} SYSTEM PUBLIC ${dir})
  # generated code: -O1 simulates as fast as -O3 and builds sooner
  target_compile_options(${name} PRIVATE -w -O1)
  target_link_libraries(${name} PUBLIC m3vit_verilated)
endfunction()
