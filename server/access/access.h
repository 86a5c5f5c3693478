// Who is let in, and to what. Nobody is asked anything while neither tokens nor client certificates
// nor an access list are configured.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "server/access/access_list.h"
#include "server/access/token_file.h"

namespace redlock::access {

// Files; empty: not used.
struct AccessOptions {
  std::string token_file;
  std::string access_list;
  bool client_certificates = false;  // are demanded by the listener
};

// What a caller shows.
struct Credentials {
  std::optional<std::string> certificate;  // the name in it, where one was checked
  std::string_view authorization;          // of the request's metadata: "Bearer ..."
};

// Thread-safe.
class Access {
 public:
  // Throws std::runtime_error that names the file, the line and what is wrong.
  explicit Access(AccessOptions options);

  // Whether callers have to say who they are. Constant.
  [[nodiscard]] bool asks() const { return asks_; }
  // Who it is: by the token where one is shown, else by the certificate. Nothing where that is
  // nobody.
  [[nodiscard]] std::optional<std::string> Identify(const Credentials& credentials) const;
  // Everything, where there is no access list.
  [[nodiscard]] bool Allows(std::string_view identity, Action verb, std::string_view key) const;

  // Reads the files anew. Where one cannot be used, all stays as it was, and this throws as the
  // constructor does.
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
  mutable std::mutex mutex_;
  std::shared_ptr<const Policy> policy_;
};

}  // namespace redlock::access
