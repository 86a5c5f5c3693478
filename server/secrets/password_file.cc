#include "server/secrets/password_file.h"

#include <stdexcept>
#include <utility>

namespace redlock::secrets {
namespace {

constexpr std::size_t kMaxFileBytes = 4096;

std::string FirstLine(const std::string& content) {
  std::string line = content.substr(0, content.find('\n'));
  if (line.ends_with('\r')) line.pop_back();
  if (line.empty()) throw std::runtime_error("the first line, which is the password, is empty");
  return line;
}

// Calls `read`, and adds the file's name to its errors.
template <typename Read>
auto Named(const std::string& path, Read read) {
  try {
    return read();
  } catch (const std::runtime_error& error) {
    throw std::runtime_error("password file " + path + ": " + error.what());
  }
}

}  // namespace

PasswordFile::PasswordFile(std::string path)
    : path_(std::move(path)),
      last_(Named(path_, [this] { return FirstLine(ReadFile(path_, kMaxFileBytes)); })) {}

std::string PasswordFile::Password() {
  try {
    Reload();
  } catch (const std::runtime_error&) {  // the daemon reports it when it looks at all its files
  }
  const MutexLock lock(mutex_);
  return last_;
}

Renewal PasswordFile::Reload() {
  return Named(path_, [this] {
    const auto content = ReadFileAgain(path_, kMaxFileBytes);
    if (!content) return Renewal::kNone;
    std::string password = FirstLine(*content);
    const MutexLock lock(mutex_);
    if (password == last_) return Renewal::kNone;
    last_ = std::move(password);
    return Renewal::kRenewed;
  });
}

}  // namespace redlock::secrets
