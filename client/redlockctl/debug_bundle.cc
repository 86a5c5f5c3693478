#include "client/redlockctl/debug_bundle.h"

#include <gnu/libc-version.h>
#include <grpcpp/grpcpp.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <span>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "client/redlockctl/hexadecimal.h"
#include "client/redlockctl/message_json.h"
#include "client/redlockctl/shown.h"

namespace redlockctl {
namespace {

namespace v1 = redlock::v1;

constexpr std::size_t kMostKeys = 1000;  // of a daemon that are named
constexpr std::size_t kHashBytes = 8;

std::string Hash(const std::string& key) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  EVP_Digest(key.data(), key.size(), digest.data(), nullptr, EVP_sha256(), nullptr);
  return "key-" + Hexadecimal(std::span(digest).first(kHashBytes));
}

// Replaces the group of keys in a line of metrics by a hash. Its pattern may be the name of a key.
std::string WithoutGroup(std::string line) {
  constexpr std::string_view kLabel = "{group=\"";
  const auto label = line.find(kLabel);
  if (label == std::string::npos) return line;
  const auto begin = label + kLabel.size();
  // The next label, or the end of the labels. A quotation mark in the pattern is escaped.
  const auto end = std::min(line.find("\",le=", begin), line.find("\"} ", begin));
  if (end == std::string::npos) return line.substr(0, begin);
  const std::string group = line.substr(begin, end - begin);
  return group == "other" ? line : line.replace(begin, group.size(), Hash(group));
}

std::string OperatingSystem() {
  constexpr std::string_view kName = "PRETTY_NAME=";
  std::ifstream release("/etc/os-release");
  for (std::string line; std::getline(release, line);) {
    if (!line.starts_with(kName)) continue;
    std::erase(line, '"');
    return line.substr(kName.size());
  }
  return "unknown";
}

std::string Kernel() {
  utsname names{};
  if (uname(&names) != 0) return "unknown";
  return std::string(names.sysname) + " " + names.release + " " + names.machine;
}

}  // namespace

DebugBundle::DebugBundle(bool redact_keys, const std::string& time) : redact_keys_(redact_keys) {
  document_ = {{"time", time},
               {"redlockctl",
                {{"version", REDLOCKD_VERSION},
                 {"grpc", grpc::Version()},
                 {"openssl", OpenSSL_version(OPENSSL_VERSION)},
                 {"libc", gnu_get_libc_version()},
                 {"os", OperatingSystem()},
                 {"kernel", Kernel()}}},
               {"keys_redacted", redact_keys},
               {"daemons", Json::array()},
               {"status_pages", Json::array()},
               {"errors", Json::array()}};
}

void DebugBundle::AddDaemon(const std::string& server) {
  document_["daemons"].push_back({{"server", server}});
}

void DebugBundle::Add(const std::string& name, const google::protobuf::Message& answer) {
  daemon()[name] = Json::parse(ToJson(answer));
}

void DebugBundle::Add(const v1::GetConfigurationResponse& answer) {
  Json& daemon = this->daemon();
  for (const auto& [name, version] : answer.versions()) daemon["versions"][name] = version;
  for (const v1::Setting& setting : answer.settings()) {
    // The patterns of groups may be names of keys.
    const bool redact = redact_keys_ && setting.name() == "key-group";
    daemon["settings"][setting.group()][setting.name()] =
        (redact ? "redacted" : setting.value()) + "  # " + setting.source();
  }
}

void DebugBundle::Add(const std::vector<v1::LeaseEntry>& leases) {
  Json totals = {{"watched", 0}, {"lost", 0}, {"waiting", 0}};
  Json keys = Json::object();
  for (const v1::LeaseEntry& lease : leases) {
    const char* const kind = lease.kind() == v1::LEASE_KIND_WATCHED ? "watched"
                             : lease.kind() == v1::LEASE_KIND_LOST  ? "lost"
                                                                    : "waiting";
    totals[kind] = totals[kind].get<int>() + 1;
    const std::string key = Shown(lease.keys().empty() ? lease.key() : Listed(lease.keys()));
    if (!keys.contains(key) && keys.size() == kMostKeys) continue;
    Json& counts = *keys.emplace(key, Json::object()).first;
    counts[kind] = counts.value(kind, 0) + 1;
  }
  daemon()["leases"] = {{"totals", std::move(totals)}, {"by_key", std::move(keys)}};
}

void DebugBundle::AddStatusPage(const std::string& address, const std::string& metrics,
                                const std::string& status) {
  const Json all = Json::parse(status, nullptr, /*allow_exceptions=*/false);
  // The message must not quote the answer of another server.
  if (!all.is_object() || !all.contains("losses")) {
    throw std::runtime_error("its /status.json is not that of redlockd");
  }
  Json page = {{"address", address}};
  for (const char* const name : {"version", "time", "draining", "quorum", "node_set", "nodes",
                                 "watched", "waiters", "streams", "totals", "keys_shown"}) {
    page[name] = all.at(name);
  }
  page["losses"] = Json::array();
  for (const Json& loss : all.at("losses")) {
    const auto message = loss.at("message").get<std::string>();
    const bool names_key = message.find('"') != std::string::npos;
    page["losses"].push_back({{"key", Shown(loss.at("key").get<std::string>())},
                              {"at", loss.at("at")},
                              {"message", redact_keys_ && names_key ? "redacted" : message}});
  }
  Json lines = Json::array();
  for (std::size_t at = 0; at < metrics.size();) {
    const std::size_t end = std::min(metrics.find('\n', at), metrics.size());
    const std::string line = metrics.substr(at, end - at);
    if (!line.starts_with("# HELP")) lines.push_back(redact_keys_ ? WithoutGroup(line) : line);
    at = end + 1;
  }
  page["metrics"] = std::move(lines);
  document_["status_pages"].push_back(std::move(page));
}

void DebugBundle::AddError(const std::string& what, const std::string& why) {
  errors_.push_back(what + ": " + why);
  document_["errors"].push_back(errors_.back());
}

std::string DebugBundle::Text() const {
  // Texts from nodes may contain invalid UTF-8, which dump() would otherwise reject.
  return document_.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

DebugBundle::Json& DebugBundle::daemon() { return document_["daemons"].back(); }

std::string DebugBundle::Shown(const std::string& key) const {
  return redact_keys_ ? Hash(key) : key;
}

}  // namespace redlockctl
