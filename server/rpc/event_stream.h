// A server stream of events: one write at a time, a bounded queue behind it, an orderly end.
#pragma once

#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/server_callback.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "server/rpc/events.h"
#include "server/rpc/service_context.h"
#include "server/rpc/status.h"

namespace redlock::rpc {

// Events come from the shards' threads, reactions from gRPC's: what both touch is under the mutex.
// gRPC owns a stream until OnDone; work posted to shards shares it.
template <typename Response>
class EventStream : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                    public OpenStream,
                    public std::enable_shared_from_this<EventStream<Response>> {
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

  void OnWriteDone(bool ok) final {
    std::optional<grpc::Status> status;
    {
      const std::lock_guard lock(mutex_);
      writing_ = false;
      if (!ok) queue_.clear();  // the client has gone; OnCancel follows
      if (!queue_.empty()) {
        WriteNext();
        return;
      }
      if (!closing_ || finished_) return;
      finished_ = true;
      status = closing_;
    }
    this->Finish(*status);
  }

  void OnCancel() final {
    End(draining_told_ ? Ending::kLetGo : Ending::kRelease);
    Close(grpc::Status(grpc::StatusCode::CANCELLED, "CANCELLED: the client has gone"));
  }

  void OnDone() final {
    if (registered_) service_.streams.Remove(this);
    self_.reset();  // deletes this, unless a shard still holds it
  }

 protected:
  explicit EventStream(const ServiceContext& service) : service_(service) {}

  // gRPC owns the stream from here on.
  void OwnItself(std::shared_ptr<EventStream> self) { self_ = std::move(self); }

  // False where there are too many streams; the stream is then closing.
  [[nodiscard]] bool Register() {
    registered_ = service_.streams.Add(self_, service_.max_streams);
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
      if (writing_) return;  // OnWriteDone finishes
      finished_ = true;
    }
    this->Finish(status);
  }

  // Ends the leases; from any thread, any number of times.
  void End(Ending ending) {
    ended_ = true;  // before the work is posted: what is still on its way to a shard looks at it
    EndLeases(ending);
  }
  [[nodiscard]] bool ended() const { return ended_; }
  // Posts to the shards.
  virtual void EndLeases(Ending ending) = 0;

  const ServiceContext& service_;
  std::size_t max_queued_ = 64;  // set before the first event

 private:
  void WriteNext() {  // under mutex_
    buffer_.Clear();
    bool own_buffer = false;
    (void)grpc::GenericSerialize<grpc::ProtoBufferWriter, Response>(queue_.front(), &buffer_,
                                                                    &own_buffer);
    queue_.pop_front();
    writing_ = true;
    this->StartWrite(&buffer_);
  }

  std::shared_ptr<EventStream> self_;
  bool registered_ = false;
  std::atomic<bool> draining_told_ = false;
  std::atomic<bool> ended_ = false;

  std::mutex mutex_;
  std::deque<Response> queue_;
  std::optional<grpc::Status> closing_;
  bool writing_ = false;
  bool finished_ = false;
  grpc::ByteBuffer buffer_;  // of the write under way
};

}  // namespace redlock::rpc
