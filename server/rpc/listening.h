// Opens the sockets on which callers connect.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/config/config.h"
#include "server/rpc/unix_socket.h"

namespace redlock::rpc {

// The sockets of one --listen address: several if its name resolves to several addresses. Movable;
// closes the sockets.
class Listening {
 public:
  // Throws std::runtime_error if it cannot listen on the address, which may be free later. Throws
  // config::ConfigError if a Unix socket can never be created there, or cannot get its owner.
  Listening(const std::string& address, const config::Config& config);
  ~Listening();
  Listening(Listening&& other) noexcept = default;
  Listening& operator=(Listening&&) = delete;
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;

  // Non-blocking.
  [[nodiscard]] const std::vector<int>& sockets() const { return sockets_; }
  // The address, with the port that was chosen instead of port 0.
  [[nodiscard]] const std::string& address() const { return address_; }

 private:
  void ListenOnPath(const config::Config& config);
  void ListenOnHost(const config::Config& config);

  std::string address_;
  std::unique_ptr<UnixSocket> unix_socket_;  // null: TCP
  std::vector<int> sockets_;
};

}  // namespace redlock::rpc
