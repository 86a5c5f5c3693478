// The connection to the daemon, with deadlines and credentials for all calls to it.
#pragma once

#include <grpcpp/client_context.h>
#include <redlock/client.h>

#include <memory>
#include <optional>
#include <string>
#include <tuple>

#include "client/redlockctl/cancel_on_signal.h"
#include "client/redlockctl/failure.h"
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
  // Connects to the first server that accepts a connection within options.connect_timeout. Moves on
  // at once if a server refuses the connection. If none accepts it, uses the last server, so that
  // calls report why. Connecting and explaining end after `limit`. Throws std::invalid_argument if
  // an option is invalid or a file cannot be read.
  Daemon(redlock::client::Options options, std::optional<Millis> limit);

  [[nodiscard]] const std::string& server() const { return server_; }

  // Returns what is left of a time that began when connecting began; at least zero.
  [[nodiscard]] Millis Left(Millis time) const;

  // Explains a failed call. If no server answered, says why for each server, and may connect once
  // more to find out.
  [[nodiscard]] Failure Explain(const grpc::Status& status) const;

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

  [[nodiscard]] bool Connect();
  // Returns why the channel is not connected.
  [[nodiscard]] std::string Cause() const;
  [[nodiscard]] std::string Cause(const grpc::Status& status) const;

  const redlock::client::Options options_;
  const std::string auth_token_;  // empty: no credentials
  const std::optional<Millis> limit_;
  const std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
  std::string server_;
  std::string failures_;  // of the servers before server_
  std::shared_ptr<grpc::Channel> channel_;
  std::tuple<std::unique_ptr<redlock::v1::LockService::Stub>,
             std::unique_ptr<redlock::v1::AdminService::Stub>,
             std::unique_ptr<grpc::health::v1::Health::Stub>>
      stubs_;
};

}  // namespace redlockctl
