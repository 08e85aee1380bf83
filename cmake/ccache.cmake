# ccache where present. The sloppiness is what ccache's manual asks for with precompiled headers.
find_program(M3VIT_CCACHE ccache)
if(M3VIT_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
    CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime CCACHE_NOHASHDIR=1
    CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} ${M3VIT_CCACHE})
endif()
