# Every flag of ours on one interface target.
add_library(m3vit_flags INTERFACE)
target_compile_options(m3vit_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # needed for ccache to cache units that use a precompiled header
  target_compile_options(m3vit_flags INTERFACE -fpch-preprocess)
else()
  target_compile_options(m3vit_flags INTERFACE -Xclang -fno-pch-timestamp)
endif()
if(M3VIT_SANITIZE)
  target_compile_options(m3vit_flags INTERFACE -fsanitize=${M3VIT_SANITIZE} -fno-omit-frame-pointer -g1)
  target_link_options(m3vit_flags INTERFACE -fsanitize=${M3VIT_SANITIZE})
endif()
