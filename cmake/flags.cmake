# The one INTERFACE target for warnings, hardening and sanitizers; every target of ours links it.
add_library(hf_flags INTERFACE)
target_compile_options(hf_flags INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wswitch-enum -Wvla -Wformat=2
  -fno-omit-frame-pointer -fstack-protector-strong $<$<BOOL:${HF_WERROR}>:-Werror>)
target_compile_definitions(hf_flags INTERFACE _GNU_SOURCE $<$<BOOL:${HF_FAILPOINTS}>:HF_FAILPOINTS>)
target_include_directories(hf_flags INTERFACE ${CMAKE_SOURCE_DIR})
if(HF_SANITIZE)
  target_compile_options(hf_flags INTERFACE -fsanitize=${HF_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(hf_flags INTERFACE -fsanitize=${HF_SANITIZE})
endif()
if(CMAKE_BUILD_TYPE STREQUAL "Coverage")
  target_compile_options(hf_flags INTERFACE --coverage -O0)
  target_link_options(hf_flags INTERFACE --coverage)
endif()
target_link_options(hf_flags INTERFACE -Wl,-z,relro,-z,now)
if(HF_FUZZ) # coverage of the libraries steers the fuzzer
  target_compile_options(hf_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
