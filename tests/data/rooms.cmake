# The generated set: bytes, geometry and label rules.
m3vit_test(rooms_test SOURCES rooms_test.cpp rooms_geometry_test.cpp statistics_test.cpp USES data)
