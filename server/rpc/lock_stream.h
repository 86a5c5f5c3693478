// The base of Hold, Watch, Session and ChangeNodeSet: authentication, one write at a time with an
// outbox behind it, draining, and an orderly end.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "server/core/check.h"
#include "server/core/leases/stream_end.h"
#include "server/rpc/caller.h"
#include "server/rpc/service_context.h"
#include "server/rpc/status.h"
#include "server/rpc/stream_call.h"
#include "server/sync/mutex.h"

namespace redlock::rpc {

// Results arrive on the strands of the keys' shards, and what the client does on the strand of the
// stream's shard. The mutex guards what both use. Work that is posted to shards shares ownership of
// the stream.
template <typename Outbox>
class LockStream : public StreamCall, public OpenStream {
 public:
  void TellDraining() override {
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

  // From any thread. May be called several times; the first call counts.
  virtual void EndLeases(StreamEnd end) = 0;

  // Called when the caller has been identified, before the first read. Returns false if the stream
  // is closing and nothing should be read.
  [[nodiscard]] virtual bool Admit() { return true; }

  void Begin() final {
    caller_ = Caller::Of(service_.access, context());
    if (!caller_) {
      Close(ToStatus(Refusal::kUnauthenticated));
    } else if (Admit()) {
      StartRead();
    }
  }

  // Returns false if too many streams are open; the stream is then closing.
  [[nodiscard]] bool Register() {
    registered_ = service_.streams.Add(std::static_pointer_cast<LockStream>(shared_from_this()),
                                       service_.max_streams);
    if (!registered_) {
      Close(ToStatus({.reason = Reason::kOverloaded,
                      .message = "the limit of open streams (--max-streams) is reached"},
                     {}, service_.names));
    }
    return registered_;
  }

  void OnWritten(bool ok) final {
    std::optional<grpc::Status> status;
    {
      const MutexLock lock(mutex_);
      writing_ = false;
      if (!ok) outbox_.Clear();  // the call has ended; OnCancelled() follows
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
    Close(grpc::Status(grpc::StatusCode::CANCELLED, "CANCELLED: the call was cancelled"));
  }

  void OnEnded() final {
    EndLeases(StreamEnd::kBroken);  // no effect if they have ended already
    if (registered_) service_.streams.Remove(this);
  }

  // `add` adds to the outbox and returns false if the client lags too far behind.
  void Send(auto add) {
    {
      const MutexLock lock(mutex_);
      if (closing_ || finished_) return;
      if (add(outbox_)) {
        if (!writing_ && !outbox_.empty()) WriteNext();
        return;
      }
      outbox_.Clear();
    }
    EndLeases(StreamEnd::kRefused);
    Close(ToStatus(
        {.reason = Reason::kOverloaded, .message = "the client reads its events too slowly"}, {},
        service_.names));
  }

  // Ends the stream once what is in the outbox has been written.
  void Close(const grpc::Status& status) {
    {
      const MutexLock lock(mutex_);
      if (closing_ || finished_) return;
      closing_ = status;
      if (writing_) return;  // OnWritten() finishes
      finished_ = true;
    }
    Finish(status);
  }

  // Returns false if the caller lacks the permission; the stream is then closing.
  [[nodiscard]] bool Permit(access::Action action, const Key& key) {
    const bool permitted = caller_->May(action, key.value());
    if (!permitted) Close(ToStatus(Refusal::kPermissionDenied));
    return permitted;
  }

  // Calls `use` with the outbox, under the mutex that guards it.
  auto WithOutbox(auto use) {
    const MutexLock lock(mutex_);
    return use(outbox_);
  }

  [[nodiscard]] const Caller& caller() const { return *caller_; }

  const ServiceContext& service_;

 private:
  void WriteNext() REDLOCK_REQUIRES(mutex_) {
    REDLOCK_CHECK(!writing_ && !finished_);
    writing_ = true;
    StartWrite(outbox_.Take());
  }

  std::optional<Caller> caller_;
  bool registered_ = false;

  Mutex mutex_;
  Outbox outbox_ REDLOCK_GUARDED_BY(mutex_);
  std::optional<grpc::Status> closing_ REDLOCK_GUARDED_BY(mutex_);
  bool writing_ REDLOCK_GUARDED_BY(mutex_) = false;
  bool finished_ REDLOCK_GUARDED_BY(mutex_) = false;
};

}  // namespace redlock::rpc
