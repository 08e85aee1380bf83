# libm3vit.so exports what symbols.txt lists, with these versions, and nothing else. After a deliberate change:
#   nm -D --defined-only --with-symbol-versions LIBRARY | awk '{print $NF}' | sort, in place of the list below its head
execute_process(COMMAND ${NM} -D --defined-only --with-symbol-versions ${LIBRARY}
  OUTPUT_VARIABLE lines COMMAND_ERROR_IS_FATAL ANY)
string(REPLACE "\n" ";" lines "${lines}")
set(exported)
foreach(line IN LISTS lines)
  if(line MATCHES " A M3VIT_")  # the version names themselves
    continue()
  endif()
  string(REGEX REPLACE ".* " "" name "${line}")
  list(APPEND exported ${name})
endforeach()
file(STRINGS ${CMAKE_CURRENT_LIST_DIR}/symbols.txt promised REGEX "^[^#]")
set(missing ${promised})
list(REMOVE_ITEM missing ${exported})
set(surplus ${exported})
list(REMOVE_ITEM surplus ${promised})
if(missing OR surplus)
  message(FATAL_ERROR "libm3vit.so: missing: ${missing}; not in symbols.txt: ${surplus}")
endif()
