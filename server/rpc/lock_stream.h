// What Hold, Watch and Session have in common: who calls, one write at a time with an outbox behind
// it, draining, and an orderly end.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "server/core/leases/stream_end.h"
#include "server/rpc/caller.h"
#include "server/rpc/service_context.h"
#include "server/rpc/status.h"
#include "server/rpc/stream_call.h"

namespace redlock::rpc {

// Results come in turns of the keys' shards, what the client does in those of the stream's: what
// both touch is under the mutex. Work posted to shards shares the stream.
template <typename Outbox>
class LockStream : public StreamCall, public OpenStream {
 public:
  void TellDraining() final {
    Send([](Outbox& outbox) { return outbox.AddDraining(); });
  }

  void Expel() final {
    EndLeases(StreamEnd::kShutDown);
    Close(ToStatus({.reason = Reason::kDraining, .message = "the daemon has shut down"}, {},
                   service_.names));
  }

 protected:
  LockStream(std::unique_ptr<AcceptedCall> accepted, const ServiceContext& service, Outbox outbox)
      : StreamCall(std::move(accepted)), service_(service), outbox_(std::move(outbox)) {}

  // From any thread; may come several times, of which the first one counts.
  virtual void EndLeases(StreamEnd end) = 0;

  // Whether anything is read from a caller who is known. False: the stream is closing.
  [[nodiscard]] virtual bool Admit() { return true; }

  void Begin() final {
    caller_ = Caller::Of(service_.access, context());
    if (!caller_) {
      Close(ToStatus(Refusal::kUnauthenticated));
    } else if (Admit()) {
      StartRead();
    }
  }

  // False if there are too many streams; the stream is then closing.
  [[nodiscard]] bool Register() {
    registered_ = service_.streams.Add(std::static_pointer_cast<LockStream>(shared_from_this()),
                                       service_.max_streams);
    if (!registered_) {
      Close(ToStatus({.reason = Reason::kOverloaded,
                      .message = "the daemon's bound on open streams is reached"},
                     {}, service_.names));
    }
    return registered_;
  }

  void OnWritten(bool ok) final {
    std::optional<grpc::Status> status;
    {
      const std::lock_guard lock(mutex_);
      writing_ = false;
      if (!ok) outbox_.Clear();  // the client has gone; OnCancelled follows
      if (!outbox_.empty()) {
        WriteNext();
        return;
      }
      if (!closing_ || finished_) return;
      finished_ = true;
      status = closing_;
    }
    Finish(*status);
  }

  void OnCancelled() final {
    EndLeases(StreamEnd::kBroken);
    Close(grpc::Status(grpc::StatusCode::CANCELLED, "CANCELLED: the client has gone"));
  }

  void OnEnded() final {
    EndLeases(StreamEnd::kBroken);  // unless it has ended in another way
    if (registered_) service_.streams.Remove(this);
  }

  // `add` puts something into the outbox, and returns false if the client lags too far behind.
  void Send(auto add) {
    {
      const std::lock_guard lock(mutex_);
      if (closing_ || finished_) return;
      if (add(outbox_)) {
        if (!writing_ && !outbox_.empty()) WriteNext();
        return;
      }
      outbox_.Clear();
    }
    EndLeases(StreamEnd::kRefused);
    Close(
        ToStatus({.reason = Reason::kOverloaded, .message = "the client does not read its events"},
                 {}, service_.names));
  }

  // Ends the stream once what is in the outbox has been written.
  void Close(const grpc::Status& status) {
    {
      const std::lock_guard lock(mutex_);
      if (closing_ || finished_) return;
      closing_ = status;
      if (writing_) return;  // OnWritten finishes
      finished_ = true;
    }
    Finish(status);
  }

  // False if the caller may not; the stream is then closing.
  [[nodiscard]] bool Permit(access::Action action, const Key& key) {
    const bool permitted = caller_->May(action, key.value());
    if (!permitted) Close(ToStatus(Refusal::kPermissionDenied));
    return permitted;
  }

  // What is done under the mutex that guards the outbox.
  auto WithOutbox(auto use) {
    const std::lock_guard lock(mutex_);
    return use(outbox_);
  }

  [[nodiscard]] const Caller& caller() const { return *caller_; }

  const ServiceContext& service_;

 private:
  void WriteNext() {  // under mutex_
    writing_ = true;
    StartWrite(outbox_.Take());
  }

  std::optional<Caller> caller_;
  bool registered_ = false;

  std::mutex mutex_;
  Outbox outbox_;
  std::optional<grpc::Status> closing_;
  bool writing_ = false;
  bool finished_ = false;
};

}  // namespace redlock::rpc
