# Runs PROGRAM for SECONDS on a copy of CORPUS in SCRATCH; what it finds stays there.
file(REMOVE_RECURSE ${SCRATCH})
file(MAKE_DIRECTORY ${SCRATCH}/findings)
file(COPY ${CORPUS}/ DESTINATION ${SCRATCH}/corpus)
execute_process(
  COMMAND ${PROGRAM} -max_total_time=${SECONDS} -timeout=10 -rss_limit_mb=2048 -print_final_stats=1
    -artifact_prefix=${SCRATCH}/findings/ ${SCRATCH}/corpus
  RESULT_VARIABLE result)
file(GLOB findings ${SCRATCH}/findings/*)
if(NOT result EQUAL 0 OR findings)
  message(FATAL_ERROR "${PROGRAM} ended with ${result}; repeat: ${PROGRAM} ${findings}")
endif()
