#include "tests/sim/trust_oracle.h"

#include "client/cpp/core/keys.h"

namespace redlock::sim {

void TrustOracle::Check(std::size_t client, const client::LeaseRef& lease) {
  for (const std::string& name : client::NamesOf(lease->key())) CheckKey(client, name);
}

void TrustOracle::CheckKey(std::size_t client, const std::string& key) {
  if (!clients_[client].trusts(key)) return;
  for (std::size_t other = 0; other < clients_.size(); ++other) {
    if (other == client || !clients_[other].trusts(key)) continue;
    violations_.push_back("two clients trust " + key + ": " + clients_[client].name + " and " +
                          clients_[other].name);
  }
}

void TrustOracle::Acquired(std::size_t client, const client::LeaseRef& lease) {
  ++leases_;
  for (const std::string& name : client::NamesOf(lease->key())) {
    client::LeaseRef& last = last_[name];
    if (last && last->token() != lease->token() &&
        lease->fencing_token() <= last->fencing_token()) {
      violations_.push_back("the fencing token of " + name +
                            " does not grow: " + std::to_string(lease->fencing_token()) + " for " +
                            clients_[client].name + " after " +
                            std::to_string(last->fencing_token()));
    }
    last = lease;
  }
}

}  // namespace redlock::sim
