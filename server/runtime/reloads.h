// What the daemon reads from files again without a restart: on SIGHUP, and in part on change.
// Reports each by itself, in the log and for metrics, so that one fault hides no other.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "server/secrets/certificate_files.h"
#include "server/secrets/files.h"

namespace redlock::runtime {

struct Reload {
  using Action = std::function<secrets::Renewal()>;
  std::string label;  // in metrics
  std::string what;   // in the log; a plural
  // Reads everything again. Throws an exception if something cannot be used; the previous content
  // then stays in use.
  Action reload;
  // The same for a regular look; null if SIGHUP alone reloads it.
  Action look;
  // Of the certificates in use; null if there are none.
  std::function<std::vector<secrets::CertificateInUse>()> certificates;
};

// Add(), OnSignal() and Look() belong to one thread. The rest may be called from any thread, once
// everything has been added.
class Reloads {
 public:
  // How often Look() is to be called.
  static constexpr std::chrono::seconds kLookInterval{1};

  void Add(Reload reload);
  void OnSignal();
  // Also warns of certificates that expire soon, once a day.
  void Look();

  struct State {
    std::string label;
    bool ok = true;  // whether the last reload succeeded
    std::uint64_t failures = 0;
    std::uint64_t successes = 0;
  };
  [[nodiscard]] std::vector<State> states() const;
  [[nodiscard]] std::vector<secrets::CertificateInUse> certificates() const;

 private:
  struct Entry {
    explicit Entry(Reload added) : reload(std::move(added)) {}
    const Reload reload;
    std::string suspected;  // the error that the last look found
    std::string reported;   // the error that is in the log; empty: none
    std::atomic<bool> ok = true;
    std::atomic<std::uint64_t> failures = 0;
    std::atomic<std::uint64_t> successes = 0;
  };
  struct Warned {
    secrets::WallSeconds of;  // the end of the certificate
    secrets::WallSeconds at;
  };

  void LookAt(Entry& entry);
  static void Fail(Entry& entry, const std::string& error);
  static void Succeed(Entry& entry);
  void WarnOfExpiry(const secrets::CertificateInUse& certificate);

  std::deque<Entry> entries_;
  std::map<std::string, Warned> warned_;  // by the certificate's use
};

}  // namespace redlock::runtime
