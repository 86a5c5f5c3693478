// Records every lease that is granted and reports violations: two valid leases of one key at the
// same time, unless both share it or have different slots of a semaphore of one limit; or a later
// holder whose fence is not higher than those of all holders before it, of the exclusive ones if it
// shares the key, or of those of its slot. A lease of several keys counts for each. Also a grant of
// a key that a lost or released lease keeps taken.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "server/core/types.h"

namespace redlock::sim {

class Oracle {
 public:
  // A client learned that it holds the lease, or that the lease was extended.
  // `delay`: for how long after its validity a lost lease keeps others out.
  void Holds(MonotonicTime now, const Lease& lease, Duration delay = {});
  // The client released the lease, and nobody may get the key before `until`.
  void Keeps(const Lease& lease, MonotonicTime until);
  // The client no longer believes that it holds the lease: it released it, received LOST, or forgot
  // it.
  void Ends(const std::string& key, const std::string& token);

  // Whether one client has held a valid lease of the key since `from`.
  [[nodiscard]] bool HeldSince(const std::string& key, MonotonicTime from, MonotonicTime now) const;

  [[nodiscard]] const std::vector<std::string>& violations() const { return violations_; }
  [[nodiscard]] std::size_t leases() const { return leases_; }

 private:
  void Holds(MonotonicTime now, const std::string& key, const Lease& lease, Duration delay);

  struct Holder {
    FencingToken fence;
    MonotonicTime valid_until;
    MonotonicTime since;      // of the grant, or of an extension after the validity had ended
    Key key;                  // how it has the key
    MonotonicTime out_until;  // keeps others out, lost or not
  };
  [[nodiscard]] static bool MayBothHold(const Key& one, const Key& other);
  struct History {
    std::map<std::string, Holder>
        holders;  // by token: clients that believe, or believed, that they hold the key
    FencingToken highest;
    FencingToken exclusive;  // the highest of the exclusive holders
    struct OfSlot {
      FencingToken highest;
      std::string last_holder;
    };
    std::map<int, OfSlot> slots;
    std::string last_holder;
    MonotonicTime kept_until;
  };

  std::map<std::string, History> keys_;
  std::vector<std::string> violations_;
  std::size_t leases_ = 0;
};

}  // namespace redlock::sim
