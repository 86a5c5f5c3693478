// The base of Hold, Watch, Session, Observe and ChangeNodeSet: authentication, one write at a time
// with an outbox behind it, draining, and an orderly end.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "server/core/check.h"
#include "server/core/leases/stream_end.h"
#include "server/rpc/caller.h"
#include "server/rpc/lease_audit.h"
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

  // On the stream's strand, where permissions are checked and work is posted to the shards. So what
  // was permitted before the change reaches the shards before this does.
  void Recheck() final {
    loop().Post([self = std::static_pointer_cast<LockStream>(shared_from_this())] {
      if (self->caller_->IsValid()) {
        self->RecheckLeases();
      } else {
        self->Refuse(Refusal::kTokenRevoked);
      }
    });
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

  // Ends what the access list no longer allows. On the stream's strand.
  virtual void RecheckLeases() = 0;

  // Called when the caller has been identified, before the first read. Returns false if the stream
  // is closing and nothing should be read.
  [[nodiscard]] virtual bool Admit() { return true; }

  void Begin() final {
    if (HasTooMuchMetadata(context())) {
      Close(ToStatus(Refusal::kTooMuchMetadata));
      return;
    }
    caller_ = Caller::Of(service_.access, context());
    if (!caller_) {
      Close(ToStatus(Refusal::kUnauthenticated));
      return;
    }
    Identify(caller_->identity());
    origin_ = caller_->OriginAt(service_.daemon, context());
    if (Admit()) StartRead();
  }

  // Returns false if too many streams are open, or if the caller's token has been revoked; the
  // stream is then closing. From here on, changes of the tokens and the access list reach the
  // stream, so its permissions must be checked after this call.
  [[nodiscard]] bool Register() {
    registered_ = service_.streams.Add(std::static_pointer_cast<LockStream>(shared_from_this()),
                                       service_.max_streams);
    if (!registered_) {
      Close(ToStatus({.reason = Reason::kOverloaded,
                      .message = "the limit of open streams (--max-streams) is reached"},
                     {}, service_.names));
      return false;
    }
    if (caller_->IsValid()) return true;
    Refuse(Refusal::kTokenRevoked);
    return false;
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

  // Ends the stream. Its leases expire.
  void Refuse(Refusal refusal) {
    EndLeases(StreamEnd::kRefused);
    Close(ToStatus(refusal));
  }

  // The first valid request was read.
  void Prove() { service_.connections.Prove(context().peer()); }

  // Calls `use` with the outbox, under the mutex that guards it.
  auto WithOutbox(auto use) {
    const MutexLock lock(mutex_);
    return use(outbox_);
  }

  [[nodiscard]] const Caller& caller() const { return *caller_; }
  [[nodiscard]] const Origin& origin() const { return origin_; }
  // Null if there is no audit log.
  [[nodiscard]] std::shared_ptr<LeaseRecorder> recorder() {
    return LeaseAudit::Of(service_.audit_log, context(), log(), caller_->identity());
  }

  const ServiceContext& service_;

 private:
  void WriteNext() REDLOCK_REQUIRES(mutex_) {
    REDLOCK_CHECK(!writing_ && !finished_);
    writing_ = true;
    StartWrite(outbox_.Take());
  }

  std::optional<Caller> caller_;
  Origin origin_;
  bool registered_ = false;

  Mutex mutex_;
  Outbox outbox_ REDLOCK_GUARDED_BY(mutex_);
  std::optional<grpc::Status> closing_ REDLOCK_GUARDED_BY(mutex_);
  bool writing_ REDLOCK_GUARDED_BY(mutex_) = false;
  bool finished_ REDLOCK_GUARDED_BY(mutex_) = false;
};

}  // namespace redlock::rpc
