// PEM files of one side of TLS: a certificate with its key, and the CAs that peers are verified
// with. Reads them, checks them, and loads them into OpenSSL.
#pragma once

#include <openssl/types.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace redlock::secrets {

using WallSeconds = std::chrono::sys_seconds;

// An option that names a file. An empty path: not set.
struct FileOption {
  std::string flag;
  std::string path;
};

// `certificate` and `key` are set both or not at all.
struct CertificatePaths {
  FileOption certificate;
  FileOption key;
  FileOption ca;
};

// The content of these files; empty if a path is not set.
struct Pem {
  std::string certificate;
  std::string key;
  std::string ca;
  bool operator==(const Pem&) const = default;
};

// How long a certificate is valid.
struct Validity {
  WallSeconds from;
  WallSeconds until;
};

// What Load() found.
struct Loaded {
  std::optional<Validity> certificate;  // not of the intermediate certificates
  // Of the CA that expires next. CAs that have expired count only if all have.
  std::optional<Validity> ca;
};

using SslContext = std::shared_ptr<SSL_CTX>;

// Loads the certificate, the key and the CAs into `context`. Throws std::runtime_error, which names
// the option and the file, if something is missing in them, unreadable, or does not match. Does not
// ask for the passphrase of a key. Does not check whether certificates have expired.
Loaded Load(SSL_CTX& context, const Pem& pem, const CertificatePaths& paths);

// Returns why certificates of these dates cannot be used now; empty if they can.
[[nodiscard]] std::string WhyUnusable(const Loaded& loaded, const CertificatePaths& paths,
                                      WallSeconds now);

// "2026-11-30 12:00:00 UTC"
[[nodiscard]] std::string InWords(WallSeconds time);

}  // namespace redlock::secrets
