// What gRPC's completion queues hand back when an operation has ended.
#pragma once

namespace redlock::rpc {

// In a turn of the shard to which the queue belongs.
class Completion {
 public:
  virtual ~Completion() = default;
  // `ok` as gRPC defines it for each operation: mostly, whether it was carried out.
  virtual void On(bool ok) = 0;
};

// Calls a member function of the call that it is part of.
template <typename Call, void (Call::*Method)(bool)>
class CompletionOf final : public Completion {
 public:
  explicit CompletionOf(Call& call) : call_(call) {}
  void On(bool ok) override { (call_.*Method)(ok); }

 private:
  Call& call_;
};

}  // namespace redlock::rpc
