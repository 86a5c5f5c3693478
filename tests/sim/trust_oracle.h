// Records what every client trusts and reports violations: two clients that trust one key, or one
// slot of a semaphore, at the same time, a later holder whose fencing token is not higher, or a
// released lock that is kept alive.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "client/cpp/core/machine.h"
#include "server/core/types.h"

namespace redlock::sim {

class TrustOracle {
 public:
  // Whether the client trusts the key now in the way that it says. Of a semaphore, it says the
  // slot.
  using Trusts = std::function<bool(const std::string& key)>;
  void AddClient(std::string name, Trusts trusts) {
    clients_.push_back({std::move(name), std::move(trusts)});
  }

  // Call after every event that may have made a client trust a key of the lease.
  void Check(std::size_t client, const client::LeaseRef& lease);
  // The client acquired the lock.
  void Acquired(std::size_t client, const client::LeaseRef& lease);
  void Violation(std::string what) { violations_.push_back(std::move(what)); }

  [[nodiscard]] const std::vector<std::string>& violations() const { return violations_; }
  [[nodiscard]] std::size_t leases() const { return leases_; }

 private:
  struct Client {
    std::string name;
    Trusts trusts;
  };
  std::vector<Client> clients_;
  void CheckKey(std::size_t client, const std::string& key);
  // Two clients trust what only one may have.
  [[nodiscard]] bool Conflict(const Client& one, const Client& other, const std::string& key) const;

  struct Highest {
    client::LeaseRef of_all, of_exclusive;
    std::map<int, client::LeaseRef> of_slots;
  };
  std::set<int> limits_;                    // of semaphores that clients trusted
  std::map<std::string, Highest> highest_;  // the leases with the highest fences, by key
  std::vector<std::string> violations_;
  std::size_t leases_ = 0;
};

}  // namespace redlock::sim
