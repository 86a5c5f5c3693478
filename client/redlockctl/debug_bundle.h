// What `redlockctl debug` writes for a bug report: one JSON document without secrets.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "proto/redlock/v1/admin_service.pb.h"

namespace redlockctl {

// Collects what daemons answered, and what could not be collected. Of leases and status pages,
// takes named fields only: no owner tokens, values, labels, identities or addresses of callers.
class DebugBundle {
 public:
  // redact_keys: names of keys are replaced by a hash that is the same in every bundle.
  DebugBundle(bool redact_keys, const std::string& time);

  // The answers that are added next are those of this daemon. `server`: its address.
  void AddDaemon(const std::string& server);
  // Adds an answer as it is.
  void Add(const std::string& name, const google::protobuf::Message& answer);
  void Add(const redlock::v1::GetConfigurationResponse& answer);
  // Adds how many leases and waiters there are, in all and for each key.
  void Add(const std::vector<redlock::v1::LeaseEntry>& leases);
  // Adds a status page's /metrics and parts of its /status.json. Throws an exception, which
  // quotes neither, if `status` is not such a document.
  void AddStatusPage(const std::string& address, const std::string& metrics,
                     const std::string& status);
  void AddError(const std::string& what, const std::string& why);

  [[nodiscard]] const std::vector<std::string>& errors() const { return errors_; }
  [[nodiscard]] std::string Text() const;

 private:
  using Json = nlohmann::ordered_json;

  [[nodiscard]] Json& daemon();
  [[nodiscard]] std::string Shown(const std::string& key) const;

  const bool redact_keys_;
  Json document_;
  std::vector<std::string> errors_;
};

}  // namespace redlockctl
