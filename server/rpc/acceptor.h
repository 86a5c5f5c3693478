// Accepts the connections of callers, hands them to gRPC and has them guarded.
//
// gRPC's own listeners stop for good if they cannot accept once, for example because the process
// has no descriptor left.
#pragma once

#include <grpcpp/server_builder.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "server/rpc/connection_guard.h"
#include "server/rpc/connections.h"
#include "server/rpc/listening.h"

namespace redlock::rpc {

// Has its own thread.
class Acceptor {
 public:
  // Where gRPC takes over the connections of one address.
  struct Place {
    Listening listening;
    std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> grpc;
  };

  // Starts at once; the server must have been started. The connections and the guard must outlive
  // this object, whose thread uses the guard.
  Acceptor(std::vector<Place> places, Connections& connections, ConnectionGuard& guard);
  // Stops accepting. The server must not have been shut down yet.
  ~Acceptor();
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

 private:
  void Run();
  // Accepts what waits on the socket, up to a bound. Returns false if the process or the machine
  // lacks a resource that this needs.
  [[nodiscard]] bool AcceptFrom(int socket, Place& place);

  std::vector<Place> places_;
  Connections& connections_;
  ConnectionGuard& guard_;
  const int wake_fd_;  // readable when Run() must end
  std::thread thread_;
};

}  // namespace redlock::rpc
