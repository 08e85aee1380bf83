add_executable(rooms_bench rooms_bench.cpp)
target_link_libraries(rooms_bench PRIVATE m3vit::data benchmark::benchmark m3vit_flags)
