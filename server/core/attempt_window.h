// How many attempts to acquire are under way at a time in a shard.
//
// A burst of more would not be faster: its commands would wait in the nodes' queues for longer than
// the node timeout, be taken for lost, rolled back and sent again. Those that wait here have not
// begun, so their validity does not run. Extensions, releases and hand-overs do not wait.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>

namespace redlock {

// One thread. Must outlive the places in it.
class AttemptWindow {
 public:
  // In the line or inside; leaves when it is destroyed.
  class Place {
   public:
    Place() = default;
    ~Place() { Leave(); }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    void Leave();

   private:
    friend class AttemptWindow;
    AttemptWindow* window_ = nullptr;
    std::uint64_t number_ = 0;
  };

  explicit AttemptWindow(std::size_t width) : width_(width) {}

  // Calls `start` as soon as there is room, in order of arrival: inside this call, or inside the
  // one in which another leaves.
  void Enter(Place& place, std::function<void()> start);
  // From now on nobody who waits is let in.
  void Close() { width_ = 0; }

 private:
  void LetIn();

  std::size_t width_;
  std::size_t inside_ = 0;
  std::uint64_t last_number_ = 0;
  std::map<std::uint64_t, std::function<void()>> line_;
};

}  // namespace redlock
