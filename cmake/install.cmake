# `make install PREFIX=…`, or cmake --install BUILD --prefix … [--component runtime | dev | program]
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/m3vit)

install(TARGETS m3vit_shared EXPORT m3vitTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT dev)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT runtime)

install(FILES include/m3vit/m3vit.h include/m3vit/m3vit.hpp
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/m3vit COMPONENT dev)
install(EXPORT m3vitTargets NAMESPACE m3vit:: DESTINATION ${package} COMPONENT dev)
configure_package_config_file(cmake/m3vitConfig.cmake.in ${PROJECT_BINARY_DIR}/m3vitConfig.cmake
  INSTALL_DESTINATION ${package})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/m3vitConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/m3vitConfig.cmake ${PROJECT_BINARY_DIR}/m3vitConfigVersion.cmake
  DESTINATION ${package} COMPONENT dev)
# pkg-config finds the prefix from where m3vit.pc lies, so that the tree can be moved and `--prefix` given late.
file(RELATIVE_PATH M3VIT_PC_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/m3vit.pc.in ${PROJECT_BINARY_DIR}/m3vit.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/m3vit.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT dev)
install(DIRECTORY examples DESTINATION ${CMAKE_INSTALL_DATADIR}/m3vit COMPONENT dev)

if(TARGET m3vit)
  install(TARGETS m3vit RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT program)
endif()
