// Opens connections to daemons, for the library and for redlockctl.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>

#include "client/cpp/include/redlock/client.h"

namespace redlock::client {

// Opens a channel with the credentials, timeouts and keepalive settings of `options`. The channel
// connects when it is first used, and directly: it ignores a proxy in the environment. Throws
// std::invalid_argument, which names the option or file, if one is unusable.
[[nodiscard]] std::shared_ptr<grpc::Channel> OpenChannel(const std::string& endpoint,
                                                         const Options& options);

// Returns whether the connection to the endpoint is encrypted. Unix sockets never are.
[[nodiscard]] bool UsesTls(const std::string& endpoint, const Options& options);

// Returns the contents of the file. Throws std::invalid_argument if the file cannot be read.
[[nodiscard]] std::string ReadFile(const std::string& path);

}  // namespace redlock::client
