// Authenticates callers and authorizes their requests. Accepts every request if neither tokens nor
// client certificates nor an access list are configured.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "server/access/access_list.h"
#include "server/access/token_file.h"
#include "server/sync/mutex.h"

namespace redlock::access {

// Paths of files; empty: not used.
struct AccessOptions {
  std::string token_file;
  std::string access_list;
  bool client_certificates = false;  // the listener requires them
};

// The credentials that a caller presents.
struct Credentials {
  std::optional<std::string> certificate;  // its identity, if one was verified
  std::string_view authorization;          // from the request's metadata: "Bearer ..."
};

// An authenticated caller, and what proved it. Does not contain the token.
struct Identification {
  std::string identity;
  std::optional<TokenHash> token;  // the line of the token file; unset: a certificate proved it
};

// Thread-safe.
class Access {
 public:
  // Reads the files. Throws std::runtime_error, which names the file, the line and the fault.
  explicit Access(AccessOptions options);

  // Whether callers must present credentials. Constant.
  [[nodiscard]] bool asks() const { return asks_; }
  // Identifies the caller by the token if one is presented, else by the certificate. Returns
  // nothing if the credentials are invalid or missing.
  [[nodiscard]] std::optional<Identification> Identify(const Credentials& credentials) const;
  // Whether the token that proved the identity is still in the token file. A certificate is not
  // looked at again: it is as good as the connection that it opened.
  [[nodiscard]] bool IsValid(const Identification& caller) const;
  // Whether the access list allows the action: with this key, with every key, or with any key at
  // all. Without an access list, everything is allowed.
  [[nodiscard]] bool Allows(std::string_view identity, Action verb, std::string_view key) const;
  [[nodiscard]] bool AllowsAllKeys(std::string_view identity, Action verb) const;
  [[nodiscard]] bool AllowsSomeKeys(std::string_view identity, Action verb) const;

  // Reads the files again. If one cannot be used, throws as the constructor does, and the previous
  // contents of all files stay in effect. Open calls must then be looked at again
  // (rpc::LockService::Recheck).
  void Reload();

 private:
  struct Policy {
    std::optional<TokenFile> tokens;
    std::optional<AccessList> list;
  };
  [[nodiscard]] static std::shared_ptr<const Policy> Read(const AccessOptions& options);
  [[nodiscard]] std::shared_ptr<const Policy> policy() const;

  const AccessOptions options_;
  const bool asks_;
  mutable Mutex mutex_;
  std::shared_ptr<const Policy> policy_ REDLOCK_GUARDED_BY(mutex_);
};

}  // namespace redlock::access
