// A server stream of events: one write at a time, a bounded queue behind it, an orderly end.
#pragma once

#include <algorithm>
#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "server/rpc/caller.h"
#include "server/rpc/events.h"
#include "server/rpc/message.h"
#include "server/rpc/service_context.h"
#include "server/rpc/status.h"
#include "server/rpc/stream_call.h"

namespace redlock::rpc {

// Events come in turns of the keys' shards, reactions in those of the stream's: what both touch is
// under the mutex. Work posted to shards shares the stream.
template <typename Response>
class EventStream : public StreamCall, public OpenStream {
 public:
  void TellDraining() final {
    draining_told_ = true;
    Send(DrainingResponse<Response>());
  }

  void Expel() final {
    End(Ending::kRelease);
    Close(ToStatus({.reason = Reason::kDraining, .message = "the daemon has shut down"}, {},
                   service_.names));
  }

 protected:
  EventStream(std::unique_ptr<AcceptedCall> accepted, const ServiceContext& service)
      : StreamCall(std::move(accepted)), service_(service) {}

  // The one message that the client sends.
  virtual void OnRequest(const grpc::ByteBuffer& message) = 0;

  void Begin() final {
    caller_ = Caller::Of(service_.access, context());
    if (caller_) {
      StartRead();
    } else {
      Close(ToStatus(Refusal::kUnauthenticated));
    }
  }
  void OnRead(const grpc::ByteBuffer& message) final { OnRequest(message); }
  void OnReadsEnded() final { Close(ToStatus({{"(message)", "is missing"}})); }

  void OnWritten(bool ok) final {
    std::optional<grpc::Status> status;
    {
      const std::lock_guard lock(mutex_);
      writing_ = false;
      if (!ok) queue_.clear();  // the client has gone; OnCancelled follows
      if (!queue_.empty()) {
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
    End(draining_told_ ? Ending::kLetGo : Ending::kRelease);
    Close(grpc::Status(grpc::StatusCode::CANCELLED, "CANCELLED: the client has gone"));
  }

  void OnEnded() final {
    if (registered_) service_.streams.Remove(this);
  }

  // False where there are too many streams; the stream is then closing.
  [[nodiscard]] bool Register() {
    registered_ = service_.streams.Add(std::static_pointer_cast<EventStream>(shared_from_this()),
                                       service_.max_streams);
    if (!registered_) {
      Close(ToStatus({.reason = Reason::kOverloaded,
                      .message = "the daemon's bound on open streams is reached"},
                     {}, service_.names));
    }
    return registered_;
  }

  void Send(Response event) {
    {
      const std::lock_guard lock(mutex_);
      if (closing_ || finished_) return;
      // A client that lags behind needs the newest extension of a lease only.
      if (event.type() == v1::EVENT_TYPE_EXTENDED) {
        std::erase_if(queue_, [&event](const Response& queued) {
          return queued.type() == v1::EVENT_TYPE_EXTENDED && queued.key() == event.key();
        });
      }
      if (queue_.size() < max_queued_) {
        queue_.push_back(std::move(event));
        if (!writing_) WriteNext();
        return;
      }
      queue_.clear();
    }
    Close(
        ToStatus({.reason = Reason::kOverloaded, .message = "the client does not read its events"},
                 {}, service_.names));
    End(Ending::kRelease);
  }

  // Ends the stream once what is queued has been sent.
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

  // Ends the leases; from any thread, any number of times.
  void End(Ending ending) {
    ended_ = true;  // before the work is posted: what is still on its way to a shard looks at it
    EndLeases(ending);
  }
  [[nodiscard]] bool ended() const { return ended_; }
  // Posts to the shards.
  virtual void EndLeases(Ending ending) = 0;

  // False where the caller may not; the stream is then closing.
  [[nodiscard]] bool Permit(access::Verb verb, const Key& key) {
    const bool permitted = caller_->May(verb, key.value());
    if (!permitted) Close(ToStatus(Refusal::kPermissionDenied));
    return permitted;
  }

  const ServiceContext& service_;
  std::size_t max_queued_ = 64;  // set before the first event

 private:
  void WriteNext() {  // under mutex_
    writing_ = true;
    StartWrite(Serialize(queue_.front()));
    queue_.pop_front();
  }

  std::optional<Caller> caller_;
  bool registered_ = false;
  std::atomic<bool> draining_told_ = false;
  std::atomic<bool> ended_ = false;

  std::mutex mutex_;
  std::deque<Response> queue_;
  std::optional<grpc::Status> closing_;
  bool writing_ = false;
  bool finished_ = false;
};

}  // namespace redlock::rpc
