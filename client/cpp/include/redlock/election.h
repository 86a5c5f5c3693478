// The election of a leader: the holder of the lock on the election's name is the leader.
//
//   redlock::client::Election election(client, "scheduler");
//   auto lead = election.campaign("10.0.0.1:80");              // waits until it has won
//   if (lead) schedule(lead->fencing_token(), lead->lost());   // stop once lost() fires
//   election.resign();
//
// Leadership ends when the lock is lost or released.
#pragma once

#include <redlock/client.h>

#include <memory>
#include <mutex>
#include <string>

namespace redlock::client {

// Thread-safe. All candidates and observers use the same name, which is the key of the lock.
class REDLOCK_API Election {
 public:
  // The client must outlive the election. Throws nothing: an invalid name is reported by the calls.
  Election(Client& client, std::string name);
  ~Election();
  Election(const Election&) = delete;
  Election& operator=(const Election&) = delete;

  // Takes part in the election until this candidate has won, at most for options.wait. Returns the
  // lock: the leadership lasts for as long as it is held. `value` is what observers see, such as an
  // address; options.value is not used. Do not campaign while you lead: that would wait for itself.
  Result<Lock> campaign(std::string value, AcquireOptions options = {});
  // Replaces the value of the present leadership: see Lock::proclaim(). Fails with kLockNotHeld if
  // this object does not lead.
  Result<void> proclaim(const std::string& value);
  // Ends the present leadership: see Lock::release(). Fails with kLockNotHeld if this object does
  // not lead.
  Result<void> resign(const ReleaseOptions& options = {});

  // Returns who leads: the first state that is kHeld or kVacant. Fails if there is none within
  // `timeout`: kQuorumUnavailable, kUnreachable or kDeadlineExceeded; the message says why.
  Result<KeyState> leader(Duration timeout = std::chrono::seconds(5));
  // Observes the election: see Client::observe().
  Result<Observer> observe();

 private:
  // Null if this object does not lead.
  [[nodiscard]] std::shared_ptr<HeldLease> Leading() const;
  [[nodiscard]] Error NotLeading() const;

  Client& client_;
  const std::string name_;
  mutable std::mutex mutex_;
  std::shared_ptr<Driver> driver_;  // of the last leadership; null: there was none
  std::shared_ptr<HeldLease> held_;
};

}  // namespace redlock::client
