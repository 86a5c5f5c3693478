#include "server/access/access.h"

#include <fstream>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace redlock::access {
namespace {

constexpr std::string_view kBearer = "Bearer ";

template <typename File>
std::optional<File> ReadFile(const std::string& flag, const std::string& path) {
  if (path.empty()) return std::nullopt;
  const std::ifstream stream(path);
  if (!stream.is_open()) throw std::runtime_error(flag + " " + path + ": cannot read the file");
  std::ostringstream text;
  text << stream.rdbuf();  // sets failbit if the file is empty, which is valid: it grants no access
  try {
    return File::Parse(text.str());
  } catch (const std::exception& error) {
    throw std::runtime_error(flag + " " + path + ": " + error.what());
  }
}

}  // namespace

Access::Access(AccessOptions options)
    : options_(std::move(options)),
      asks_(!options_.token_file.empty() || options_.client_certificates),
      policy_(Read(options_)) {}

std::shared_ptr<const Access::Policy> Access::Read(const AccessOptions& options) {
  auto policy = std::make_shared<Policy>();
  policy->tokens = ReadFile<TokenFile>("--token-file", options.token_file);
  policy->list = ReadFile<AccessList>("--access-list", options.access_list);
  return policy;
}

std::shared_ptr<const Access::Policy> Access::policy() const {
  const MutexLock lock(mutex_);
  return policy_;
}

void Access::Reload() {
  auto fresh = Read(options_);
  const MutexLock lock(mutex_);
  policy_ = std::move(fresh);
}

std::optional<Identification> Access::Identify(const Credentials& credentials) const {
  const auto policy = this->policy();
  if (policy->tokens && credentials.authorization.starts_with(kBearer)) {
    const auto match = policy->tokens->Find(credentials.authorization.substr(kBearer.size()));
    if (!match) return std::nullopt;
    return Identification{match->identity, match->hash};
  }
  if (!credentials.certificate) return std::nullopt;
  return Identification{*credentials.certificate, std::nullopt};
}

bool Access::IsValid(const Identification& caller) const {
  const auto policy = this->policy();
  return !caller.token || (policy->tokens && policy->tokens->Has(caller.identity, *caller.token));
}

bool Access::Allows(std::string_view identity, Action verb, std::string_view key) const {
  const auto policy = this->policy();
  return !policy->list || policy->list->Allows(identity, verb, key);
}

bool Access::AllowsAllKeys(std::string_view identity, Action verb) const {
  const auto policy = this->policy();
  return !policy->list || policy->list->AllowsAllKeys(identity, verb);
}

bool Access::AllowsSomeKeys(std::string_view identity, Action verb) const {
  const auto policy = this->policy();
  return !policy->list || policy->list->AllowsSomeKeys(identity, verb);
}

}  // namespace redlock::access
