#include "server/runtime/reloads.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <exception>
#include <utility>

namespace redlock::runtime {
namespace {

using secrets::CertificateInUse;
using secrets::Renewal;
using secrets::WallSeconds;

constexpr std::chrono::hours kWarnAhead{14 * 24};
constexpr std::chrono::hours kWarnAgainAfter{24};
// Certificates may be made for a day or less, and are then renewed late in their life.
constexpr int kWarnAheadShareOfLife = 5;

WallSeconds Now() {
  return std::chrono::time_point_cast<std::chrono::seconds>(std::chrono::system_clock::now());
}

// "; --tls-cert a.crt is valid until ..."
std::string Ends(const Reload& reload) {
  std::string ends;
  if (!reload.certificates) return ends;
  for (const CertificateInUse& certificate : reload.certificates()) {
    ends += "; " + certificate.file.flag + " " + certificate.file.path + " is valid until " +
            secrets::InWords(certificate.validity.until);
  }
  return ends;
}

}  // namespace

void Reloads::Add(Reload reload) {
  if (reload.certificates) spdlog::info("{} in use{}", reload.what, Ends(reload));
  entries_.emplace_back(std::move(reload));
}

void Reloads::Fail(Entry& entry, const std::string& error) {
  entry.reported = error;
  entry.ok = false;
  ++entry.failures;
}

void Reloads::Succeed(Entry& entry) {
  entry.suspected.clear();
  entry.reported.clear();
  entry.ok = true;
}

void Reloads::OnSignal() {
  for (Entry& entry : entries_) {
    const std::string& what = entry.reload.what;
    try {
      entry.reload.reload();
      Succeed(entry);
      ++entry.successes;
      spdlog::info("SIGHUP: {} reloaded{}", what, Ends(entry.reload));
    } catch (const std::exception& error) {
      Fail(entry, error.what());
      spdlog::error("SIGHUP: {} not reloaded, the previous ones stay in use: {}", what,
                    error.what());
    }
  }
}

void Reloads::Look() {
  for (Entry& entry : entries_) {
    if (entry.reload.look) LookAt(entry);
    if (!entry.reload.certificates) continue;
    for (const CertificateInUse& certificate : entry.reload.certificates()) {
      WarnOfExpiry(certificate);
    }
  }
}

void Reloads::LookAt(Entry& entry) {
  const std::string& what = entry.reload.what;
  try {
    const Renewal renewal = entry.reload.look();
    if (renewal == Renewal::kPending) return;
    if (renewal == Renewal::kRenewed) {
      ++entry.successes;
      spdlog::info("{} reloaded, because they have changed{}", what, Ends(entry.reload));
    } else if (!entry.reported.empty()) {
      spdlog::info("{}: the files can be used again", what);
    }
    Succeed(entry);
  } catch (const std::exception& error) {
    if (entry.reported == error.what()) return;
    // A file that is just being replaced may be missing for a moment.
    if (std::exchange(entry.suspected, error.what()) != error.what()) return;
    Fail(entry, error.what());
    spdlog::error("{} have changed but cannot be used, the previous ones stay in use: {}", what,
                  error.what());
  }
}

void Reloads::WarnOfExpiry(const CertificateInUse& certificate) {
  const WallSeconds now = Now();
  const auto& [from, until] = certificate.validity;
  const auto ahead =
      std::min<std::chrono::seconds>(kWarnAhead, (until - from) / kWarnAheadShareOfLife);
  if (until - now > ahead) return;
  Warned& warned = warned_[certificate.use];
  if (warned.of == until && now - warned.at < kWarnAgainAfter) return;
  warned = {until, now};
  if (until <= now) {
    spdlog::error("{} {}: the certificate expired on {}; peers refuse it until it is renewed",
                  certificate.file.flag, certificate.file.path, secrets::InWords(until));
  } else {
    spdlog::warn("{} {}: the certificate expires on {}; renew it", certificate.file.flag,
                 certificate.file.path, secrets::InWords(until));
  }
}

std::vector<Reloads::State> Reloads::states() const {
  std::vector<State> states;
  for (const Entry& entry : entries_) {
    states.push_back({entry.reload.label, entry.ok, entry.failures, entry.successes});
  }
  return states;
}

std::vector<CertificateInUse> Reloads::certificates() const {
  std::vector<CertificateInUse> all;
  for (const Entry& entry : entries_) {
    if (!entry.reload.certificates) continue;
    for (CertificateInUse& certificate : entry.reload.certificates()) {
      all.push_back(std::move(certificate));
    }
  }
  return all;
}

}  // namespace redlock::runtime
