// The daemons that a client may use, in turn.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "client/cpp/include/redlock/client.h"
#include "proto/redlock/v1/lock_service.grpc.pb.h"

namespace redlock::client {

// One thread at a time.
class Daemons {
 public:
  // Throws std::invalid_argument where a file cannot be read, or there is no endpoint.
  explicit Daemons(const Options& options);

  [[nodiscard]] const std::string& endpoint() const { return daemons_[current_].endpoint; }
  [[nodiscard]] v1::LockService::Stub& stub() { return *daemons_[current_].stub; }
  // Read anew; empty where there is none.
  [[nodiscard]] std::string bearer_token() const;
  // True where all have had their turn.
  bool Next() {
    current_ = (current_ + 1) % daemons_.size();
    return current_ == 0;
  }

 private:
  struct Daemon {
    std::string endpoint;
    std::unique_ptr<v1::LockService::Stub> stub;
  };

  const std::string token_file_;
  std::vector<Daemon> daemons_;
  std::size_t current_ = 0;
};

}  // namespace redlock::client
