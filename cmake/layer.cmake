# hf_layer(name SOURCES … LINKS …): a folder as a static library; its headers are checked to compile alone.
function(hf_layer name)
  cmake_parse_arguments(A "" "" "SOURCES;LINKS" ${ARGN})
  add_library(${name} STATIC ${A_SOURCES})
  target_link_libraries(${name} PUBLIC hf_flags ${A_LINKS})
  file(GLOB headers CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.h)
  if(headers)
    target_sources(${name} PUBLIC FILE_SET HEADERS BASE_DIRS ${CMAKE_SOURCE_DIR} FILES ${headers})
    set_target_properties(${name} PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON)
  endif()
endfunction()

# hf_unit(name SOURCES … LINKS …): a CUnit executable, registered with ctest under the label unit.
function(hf_unit name)
  cmake_parse_arguments(A "" "LABEL" "SOURCES;LINKS" ${ARGN})
  if(NOT A_LABEL)
    set(A_LABEL unit)
  endif()
  add_executable(${name} ${A_SOURCES})
  target_link_libraries(${name} PRIVATE hf_flags ${A_LINKS} PkgConfig::CUNIT)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS ${A_LABEL} TIMEOUT 600) # only ends what hangs: some wait for minutes in a slow build
endfunction()
