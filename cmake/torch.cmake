# libtorch: Debian's 1.13 by default, or a newer one by -DCMAKE_PREFIX_PATH. torch/torch.h costs ~30 s a unit, so it is
# precompiled once in m3vit_torch and reused by model, train, cli and their tests.
find_package(Torch REQUIRED)
add_library(m3vit_torch INTERFACE)
# As SYSTEM: libtorch's headers are not ours to warn about.
target_include_directories(m3vit_torch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})
target_link_libraries(m3vit_torch INTERFACE ${TORCH_LIBRARIES})
separate_arguments(M3VIT_TORCH_FLAGS UNIX_COMMAND "${TORCH_CXX_FLAGS}")
target_compile_options(m3vit_torch INTERFACE ${M3VIT_TORCH_FLAGS})
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  target_compile_options(m3vit_torch INTERFACE "SHELL:-include ${PROJECT_SOURCE_DIR}/cmake/clang_libtorch.h")
endif()

add_library(m3vit_torch_pch OBJECT ${PROJECT_SOURCE_DIR}/cmake/torch_pch.cpp)
target_precompile_headers(m3vit_torch_pch PRIVATE <torch/torch.h>)
target_link_libraries(m3vit_torch_pch PRIVATE m3vit_torch m3vit_flags)

# m3vit_use_torch(target): links libtorch and reuses the precompiled header.
function(m3vit_use_torch target)
  target_link_libraries(${target} PUBLIC m3vit_torch)
  target_precompile_headers(${target} REUSE_FROM m3vit_torch_pch)
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "EXECUTABLE")  # CMake would compile it with -fPIE, but the header is precompiled with -fPIC
    set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(${target} PRIVATE -fPIC)
  endif()
endfunction()
