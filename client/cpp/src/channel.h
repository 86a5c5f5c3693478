// Connections to daemons, for the library and for redlockctl.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>

#include "client/cpp/include/redlock/client.h"

namespace redlock::client {

// With the credentials and the keepalive of the options. Connects when it is first used. Throws
// std::invalid_argument, which names the file, if one of the options cannot be used.
[[nodiscard]] std::shared_ptr<grpc::Channel> OpenChannel(const std::string& endpoint,
                                                         const Options& options);

// Throws likewise if it cannot be read.
[[nodiscard]] std::string ReadFile(const std::string& path);

}  // namespace redlock::client
