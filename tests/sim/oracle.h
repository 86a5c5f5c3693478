// Sees every lease that is handed out and says what must never be: two valid leases of one key at
// one instant, or a later holder with a fence that is not higher.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "server/core/types.h"

namespace redlock::sim {

class Oracle {
 public:
  // A client was told that it holds the lease, or that its lease was extended.
  void Holds(MonotonicTime now, const Lease& lease);
  // It stopped believing so: it released, was told LOST, or forgot about it.
  void Ends(const std::string& key, const std::string& token);

  [[nodiscard]] const std::vector<std::string>& violations() const { return violations_; }
  [[nodiscard]] std::size_t leases() const { return leases_; }

 private:
  struct Holder {
    FencingToken fence;
    MonotonicTime valid_until;
  };
  struct History {
    std::map<std::string, Holder> holders;  // by token: who believes, or believed, to hold
    FencingToken highest;
    std::string last_holder;
  };

  std::map<std::string, History> keys_;
  std::vector<std::string> violations_;
  std::size_t leases_ = 0;
};

}  // namespace redlock::sim
