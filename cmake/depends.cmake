# Everything Holdfast stands on; all are Debian 12 packages (docs/DEPENDENCIES.md says what each is for).
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(ZMQ REQUIRED IMPORTED_TARGET libzmq)
pkg_check_modules(CZMQ REQUIRED IMPORTED_TARGET libczmq)
pkg_check_modules(XXHASH REQUIRED libxxhash)
pkg_check_modules(SODIUM REQUIRED IMPORTED_TARGET libsodium)
pkg_check_modules(PROTOBUFC REQUIRED IMPORTED_TARGET libprotobuf-c)
pkg_check_modules(MHD REQUIRED IMPORTED_TARGET libmicrohttpd)
pkg_check_modules(ROCKSDB REQUIRED IMPORTED_TARGET rocksdb)
pkg_check_modules(RAFT IMPORTED_TARGET raft>=0.15 raft<0.16) # the version whose gaps shard/engine/libraft guards
pkg_check_modules(CUNIT IMPORTED_TARGET cunit)
find_program(PROTOC_C protoc-c REQUIRED)

# RocksDB as an archive inside holdfast-shard: its thread-local counters, asked at every comparison of keys, then cost no
# call (a sixth of the instructions of a put in apply). Sanitizers and debuggers get the shared library. The C++ runtime is
# named as a file: -lstdc++ needs a link that comes with g++.
option(HF_ROCKSDB_STATIC "Link RocksDB as an archive (optimized builds without sanitizers only)" ON)
add_library(hf_rocksdb INTERFACE)
if(HF_ROCKSDB_STATIC AND NOT HF_SANITIZE AND NOT HF_FUZZ AND CMAKE_BUILD_TYPE MATCHES "^Rel")
  target_link_libraries(hf_rocksdb INTERFACE -l:librocksdb.a snappy z bz2 lz4 zstd -l:libstdc++.so.6 m)
else()
  target_link_libraries(hf_rocksdb INTERFACE PkgConfig::ROCKSDB)
endif()
