# The one INTERFACE target for warnings, hardening and sanitizers; every target of ours links it.
add_library(hf_flags INTERFACE)
target_compile_options(hf_flags INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wswitch-enum -Wvla -Wformat=2
  -fno-omit-frame-pointer $<$<BOOL:${HF_WERROR}>:-Werror>)
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

# Hardening; tests/tidy/hardening.py looks for it in the binaries. Nothing on the stack is executable, no address is fixed,
# nothing that the linker resolved stays writable, a smashed or skipped stack guard and a call into a function's middle end
# the process. Checked string functions need optimisation, and sanitizers bring their own.
include(CheckCCompilerFlag)
include(CheckPIESupported)
check_pie_supported() # programs: -pie; the objects are position-independent anyway
target_compile_options(hf_flags INTERFACE -fstack-protector-strong -fstack-clash-protection)
check_c_compiler_flag(-fcf-protection=full HF_HAVE_CF_PROTECTION)
if(HF_HAVE_CF_PROTECTION)
  target_compile_options(hf_flags INTERFACE -fcf-protection=full)
endif()
if(CMAKE_BUILD_TYPE MATCHES "^Rel|^MinSizeRel" AND NOT HF_SANITIZE)
  target_compile_options(hf_flags INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()
target_link_options(hf_flags INTERFACE -Wl,-z,relro,-z,now,-z,noexecstack)

if(HF_FUZZ) # coverage of the libraries steers the fuzzer
  target_compile_options(hf_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
