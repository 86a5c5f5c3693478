// Callbacks for gRPC's completion queues, which return them as tags when an operation has ended.
#pragma once

namespace redlock::rpc {

// Called on the strand of the shard to which the queue belongs.
class Completion {
 public:
  virtual ~Completion() = default;
  // `ok` is what gRPC defines for each operation: usually, whether the operation was carried out.
  virtual void On(bool ok) = 0;
};

// Calls a member function of the call that contains it.
template <typename Call, void (Call::*Method)(bool)>
class CompletionOf final : public Completion {
 public:
  explicit CompletionOf(Call& call) : call_(call) {}
  void On(bool ok) override { (call_.*Method)(ok); }

 private:
  Call& call_;
};

}  // namespace redlock::rpc
