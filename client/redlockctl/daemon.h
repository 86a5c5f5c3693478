// The connection to the daemon, with deadlines and credentials for all calls to it.
#pragma once

#include <grpcpp/client_context.h>
#include <redlock/client.h>

#include <memory>
#include <optional>
#include <string>
#include <tuple>

#include "client/redlockctl/cancel_on_signal.h"
#include "client/redlockctl/options.h"
#include "proto/grpc/health/v1/health.grpc.pb.h"
#include "proto/redlock/v1/admin_service.grpc.pb.h"
#include "proto/redlock/v1/lock_service.grpc.pb.h"

namespace redlockctl {

// Methods of a generated stub.
template <typename Stub, typename Request, typename Response>
using Method = grpc::Status (Stub::*)(grpc::ClientContext*, const Request&, Response*);
template <typename Stub, typename Request, typename Event>
using StreamMethod = std::unique_ptr<grpc::ClientReader<Event>> (Stub::*)(grpc::ClientContext*,
                                                                          const Request&);

class Daemon {
 public:
  // Connects to the first server that accepts a connection within a second; if none does, uses the
  // last one. Throws std::invalid_argument if a file of the options cannot be read.
  Daemon(const redlock::client::Options& options, std::string auth_token);

  [[nodiscard]] const std::string& server() const { return server_; }

  // Makes a unary call, one at a time. SIGINT, SIGTERM and the timeout, if any, end it.
  template <typename Stub, typename Request, typename Response>
  [[nodiscard]] grpc::Status Call(Method<Stub, Request, Response> method, const Request& request,
                                  Response& response, std::optional<Millis> timeout) {
    grpc::ClientContext context;
    const CancelOnSignal cancel(context);
    return CallIn(context, method, request, response, timeout);
  }
  // The same without signal handling. From any thread.
  template <typename Stub, typename Request, typename Response>
  [[nodiscard]] grpc::Status CallIn(grpc::ClientContext& context,
                                    Method<Stub, Request, Response> method, const Request& request,
                                    Response& response, std::optional<Millis> timeout) {
    Identify(context);
    if (timeout) SetDeadline(context, *timeout);
    return (stub<Stub>().*method)(&context, request, &response);
  }
  // Opens a stream. Unless there is a timeout, it has no deadline.
  template <typename Stub, typename Request, typename Event>
  [[nodiscard]] std::unique_ptr<grpc::ClientReader<Event>> Open(
      grpc::ClientContext& context, StreamMethod<Stub, Request, Event> method,
      const Request& request, std::optional<Millis> timeout = std::nullopt) {
    Identify(context);
    if (timeout) SetDeadline(context, *timeout);
    return (stub<Stub>().*method)(&context, request);
  }

 private:
  // Adds the bearer token, if there is one.
  void Identify(grpc::ClientContext& context) const;
  static void SetDeadline(grpc::ClientContext& context, Millis timeout);
  template <typename Stub>
  [[nodiscard]] Stub& stub() {
    return *std::get<std::unique_ptr<Stub>>(stubs_);
  }

  const std::string auth_token_;
  std::string server_;
  std::tuple<std::unique_ptr<redlock::v1::LockService::Stub>,
             std::unique_ptr<redlock::v1::AdminService::Stub>,
             std::unique_ptr<grpc::health::v1::Health::Stub>>
      stubs_;
};

}  // namespace redlockctl
