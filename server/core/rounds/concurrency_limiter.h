// Limits the concurrent extensions, releases, attempts and reads of a shard, and decides which one
// is next.
//
// A larger burst would not be faster. Its commands would wait in the nodes' queues for longer than
// the node timeout, count as lost and be sent again, which makes busy nodes busier. Requests that
// wait here have not begun, so no validity runs. Hand-overs do not wait.
//
// The limiter prevents one client's requests from costing other clients their locks. Each kind of
// operation has a priority, and each priority has a share of the permits (kShares). So releases,
// acquisitions, reads and extensions of locks that are not held cannot keep a lease from being
// extended in time. Within a priority, the sources (connections) are served round-robin.
//
// The width, which is the number of permits, follows what the nodes can bear: additive increase,
// multiplicative decrease, like TCP's congestion window (RFC 5681). Beyond kUsual, which keeps
// nearby nodes busy, it grows only while rounds take about as long as the quickest ones, which
// means that the nodes are far away rather than busy (as in TCP Vegas, Brakmo 1994). Of what a
// client sends faster than the nodes carry it out, the rest then waits here, where releases
// overtake acquisitions, and acquisitions that would wait for too long are refused. The priorities
// are served by stride scheduling (Waldspurger 1995).
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

// The connection or stream that requested an operation, for fairness. 0: the daemon itself.
struct Source {
  std::uint64_t value = 0;
  bool operator==(const Source&) const = default;
};

// Strand-confined. Must outlive its permits.
class ConcurrencyLimiter {
 public:
  enum class Priority {
    kHeldLeases,    // extensions of leases that a watchdog of this daemon keeps
    kExtensions,    // requested by callers, whose tokens may hold nothing
    kReleases,      // come in bursts of thousands when a client of many locks is gone. More than
                    // acquisitions: otherwise, more and more locks that nobody needs would be held
    kAcquisitions,  // includes retries of lost hand-overs
    kReads,         // of who holds a key, for callers and observers
  };

  // A permit that is waiting or granted. Its destructor gives it back or leaves the queue.
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
    Priority priority_{};
    Source source_;
    std::uint64_t number_ = 0;
  };

  ConcurrencyLimiter(const Clock& clock, std::size_t widest);

  // Calls `start` as soon as a permit is free: inside this call, or inside the call in which
  // another permit leaves. The requests of one source keep their order.
  void Enter(Permit& permit, Priority priority, Source source, std::function<void()> start);
  // From now on, no waiting request is admitted.
  void Close() { closed_ = true; }

  // The width up to which it grows while rounds are decided in time, however long they take.
  static constexpr double kUsual = 128;

  // Reports a round that began at `started` and was decided in time, at `now`.
  void OnDecided(MonotonicTime started, MonotonicTime now);
  // Reports a round that began at `started` and ended undecided, because nodes did not answer in
  // time.
  void OnTimedOut(MonotonicTime started);

  // Reports a read that a quorum answered after this time, or no quorum within it. A single read
  // can cost a node as much as hundreds of other steps, which is not known before. So only a few
  // are under way at a time, and more only while they take hardly longer than the quickest rounds.
  void OnRead(Duration took);

  // Predicts how long an acquisition of this source that enters now will wait, from the recent rate
  // of admissions. Returns 0 if none waits or too few have been admitted for a prediction.
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
    std::list<std::uint64_t> turns;  // waiting sources; the first is next
    std::size_t size = 0;
    double pass = 0;  // the priority with the lowest pass is next
  };
  static constexpr std::size_t kPriorities = 5;
  // The relative share of permits of each priority while all of them wait.
  static constexpr std::array<double, kPriorities> kShares = {16, 2, 8, 4, 2};

  [[nodiscard]] bool HasRoom() const { return !closed_ && inside_ < width(); }
  [[nodiscard]] Queue& QueueOf(Priority priority) {
    return queues_[static_cast<std::size_t>(priority)];
  }
  void Add(const Permit& permit, std::function<void()> start);
  // Returns false if the permit is not waiting.
  bool Remove(const Permit& permit);
  [[nodiscard]] bool HasRoomFor(std::size_t priority) const {
    return priority != static_cast<std::size_t>(Priority::kReads) ||
           static_cast<double>(reading_) < reads_;
  }
  void Begin(Priority priority);
  void AdmitWaiting();
  void Admit(std::size_t priority);
  void CountPace();
  // Whether a round that took this long waited for busy nodes.
  [[nodiscard]] bool Queued(Duration took, MonotonicTime now);

  const Clock& clock_;
  const double widest_;
  const double narrowest_;
  const double usual_;
  double width_;
  MonotonicTime narrowed_;
  // The shortest rounds since `quickest_since_`, and in a period before that.
  Duration quickest_ = Duration::max();
  Duration quickest_before_ = Duration::max();
  MonotonicTime quickest_since_;
  bool closed_ = false;
  std::size_t inside_ = 0;
  std::size_t reading_ = 0;  // of these
  double reads_;             // the width for reads
  std::size_t waiting_ = 0;
  std::uint64_t last_number_ = 0;
  double pass_ = 0;  // of the priority that was served last
  std::array<Queue, kPriorities> queues_;

  // The rate of acquisitions: `admitted_` have been admitted since `pace_since_`.
  std::size_t admitted_ = 0;
  MonotonicTime pace_since_;
};

}  // namespace redlock
