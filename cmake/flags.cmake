# Every flag of ours on one interface target.
add_library(m3vit_flags INTERFACE)
target_compile_options(m3vit_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # as clang: our functions are not replaced at load, so calls within a unit may be inlined in -fPIC code too
  target_compile_options(m3vit_flags INTERFACE -fno-semantic-interposition)
  if(CMAKE_SYSTEM_PROCESSOR STREQUAL "aarch64")  # its notes on ARM's calling convention concern code built by g++ 9
    target_compile_options(m3vit_flags INTERFACE -Wno-psabi)
  endif()
  # needed for ccache to cache units that use a precompiled header
  target_compile_options(m3vit_flags INTERFACE -fpch-preprocess)
  # g++ 12 warns of overlapping copies inside `"literal" + std::string` that cannot happen (GCC bug 105651).
  if(CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    target_compile_options(m3vit_flags INTERFACE -Wno-restrict)
    if(CMAKE_CXX_COMPILER_VERSION VERSION_GREATER 12.2)  # and 12.4 of copies inside std::vector
      target_compile_options(m3vit_flags INTERFACE -Wno-array-bounds -Wno-stringop-overflow
        -Wno-stringop-overread)
    endif()
  endif()
else()
  target_compile_options(m3vit_flags INTERFACE -Xclang -fno-pch-timestamp)
endif()
if(M3VIT_SANITIZE)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # gcc warns of its own instrumentation, in libtorch's headers among others (its manual says so of sanitizers)
    target_compile_options(m3vit_flags INTERFACE -Wno-maybe-uninitialized)
  endif()
  target_compile_options(m3vit_flags INTERFACE -fsanitize=${M3VIT_SANITIZE} -fno-sanitize-recover=all
    -fno-omit-frame-pointer -g1)
  target_link_options(m3vit_flags INTERFACE -fsanitize=${M3VIT_SANITIZE})
endif()
if(M3VIT_FUZZ)
  # coverage for libFuzzer in all of our code; the targets alone link its main
  target_compile_options(m3vit_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
