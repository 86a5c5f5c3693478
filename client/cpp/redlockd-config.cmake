# For find_package(redlockd), which provides redlock::client and, to test with, redlock::testing.
include(CMakeFindDependencyMacro)
find_dependency(OpenSSL)
find_dependency(Threads)
find_dependency(Protobuf)
find_dependency(gRPC CONFIG)
include(${CMAKE_CURRENT_LIST_DIR}/redlockd-targets.cmake)
