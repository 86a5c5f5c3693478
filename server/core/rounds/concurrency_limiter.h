// How many extensions, releases and attempts are under way at a time in a shard, and who is next.
//
// A burst of more would not be faster: its commands would wait in the nodes' queues for longer than
// the node timeout, be taken for lost and sent again, and the more so the busier the nodes are.
// Those that wait here have not begun, so no validity runs. Hand-overs do not wait.
//
// Nobody's requests may cost others their locks. There is a priority for each kind of operation,
// and each priority gets its share of the places (kShares), so that neither releases nor
// acquisitions nor extensions of locks that nobody holds keep a lease from being extended in time.
// Within a priority, the sources (connections) take turns.
//
// The width follows what the nodes bear: additive increase, multiplicative decrease, as TCP's
// congestion window does (RFC 5681). The lines are served by stride scheduling (Waldspurger 1995).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <unordered_map>

#include "server/core/clock.h"

namespace redlock {

// Whose request an operation is, for fairness: a connection or a stream. 0: the daemon's own.
struct Source {
  std::uint64_t value = 0;
  bool operator==(const Source&) const = default;
};

// One thread. Must outlive the places in it.
class ConcurrencyLimiter {
 public:
  enum class Priority {
    kHeldLeases,    // extensions of leases that a watchdog of this daemon keeps
    kExtensions,    // those that callers ask for: they may hold nothing
    kReleases,      // which come by the ten thousand when a client of many locks has gone
    kAcquisitions,  // and hand-overs that were lost
  };

  // In a priority or inside; leaves when it is destroyed.
  class Permit {
   public:
    Permit() = default;
    ~Permit() { Leave(); }
    Permit(const Permit&) = delete;
    Permit& operator=(const Permit&) = delete;
    void Leave();

   private:
    friend class ConcurrencyLimiter;
    ConcurrencyLimiter* limiter_ = nullptr;
    Priority line_{};
    Source source_;
    std::uint64_t number_ = 0;
  };

  ConcurrencyLimiter(const Clock& clock, std::size_t widest);

  // Calls `start` as soon as there is room: inside this call, or inside the one in which another
  // leaves. The requests of one source keep their order.
  void Enter(Permit& permit, Priority priority, Source source, std::function<void()> start);
  // From now on nobody who waits is admitted.
  void Close() { closed_ = true; }

  // A round was decided in time.
  void OnDecided();
  // A round that began at `started` ended undecided, because nodes did not answer in time.
  void OnTimedOut(MonotonicTime started);

  // How long an acquisition of this source that enters now will wait, by the pace at which
  // acquisitions have been admitted; zero if nobody waits or too few have been admitted to know.
  [[nodiscard]] Duration PredictedWait(Source source) const;

  [[nodiscard]] std::size_t width() const { return static_cast<std::size_t>(width_); }

 private:
  // Waiting requests of one source, by number.
  struct Waiting {
    std::map<std::uint64_t, std::function<void()>> requests;
    std::list<std::uint64_t>::iterator turn;
  };
  struct Queue {
    std::unordered_map<std::uint64_t, Waiting> sources;
    std::list<std::uint64_t> turns;  // sources that wait; the first is next
    std::size_t size = 0;
    double pass = 0;  // the priority with the least is next
  };
  static constexpr std::size_t kPriorities = 4;
  // Of each priority: how many places it gets while all of them wait.
  static constexpr std::array<double, kPriorities> kShares = {8, 2, 2, 4};

  [[nodiscard]] bool HasRoom() const { return !closed_ && inside_ < width(); }
  [[nodiscard]] Queue& QueueOf(Priority priority) {
    return queues_[static_cast<std::size_t>(priority)];
  }
  void Add(const Permit& permit, std::function<void()> start);
  // False if it does not wait.
  bool Remove(const Permit& permit);
  void AdmitWaiting();
  void Admit(std::size_t priority);
  void CountPace();

  const Clock& clock_;
  const double widest_;
  const double narrowest_;
  double width_;
  MonotonicTime narrowed_;
  bool closed_ = false;
  std::size_t inside_ = 0;
  std::size_t waiting_ = 0;
  std::uint64_t last_number_ = 0;
  double pass_ = 0;  // of the priority that was served last
  std::array<Queue, kPriorities> queues_;

  // The pace of acquisitions: so many were admitted since then.
  std::size_t admitted_ = 0;
  MonotonicTime pace_since_;
};

}  // namespace redlock
