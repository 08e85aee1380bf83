# One translation unit out of the many that Verilator writes.
file(GLOB parts RELATIVE ${DIR} ${DIR}/*.cpp)
list(SORT parts)
list(TRANSFORM parts REPLACE "(.+)" "#include \"\\1\"\n")
list(JOIN parts "" text)
file(WRITE ${DIR}/unit.cpp "${text}")
