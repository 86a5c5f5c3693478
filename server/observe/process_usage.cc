#include "server/observe/process_usage.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

namespace redlock::observe {
namespace {

// The numbers of /proc/self/stat from the third field on (proc(5)); the second, the name of the
// program in parentheses, may contain spaces.
constexpr std::size_t kFirst = 3;
constexpr std::size_t kUserTicks = 14 - kFirst;
constexpr std::size_t kSystemTicks = 15 - kFirst;
constexpr std::size_t kStartTicks = 22 - kFirst;
constexpr std::size_t kVirtualBytes = 23 - kFirst;
constexpr std::size_t kResidentPages = 24 - kFirst;

using Fields = std::array<std::uint64_t, kResidentPages + 1>;

std::optional<Fields> ReadStat() {
  std::ifstream file("/proc/self/stat");
  std::string text;
  if (!std::getline(file, text)) return std::nullopt;
  std::istringstream rest(text.substr(text.rfind(')') + 1));
  Fields fields{};
  std::string word;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (!(rest >> word)) return std::nullopt;
    if (i > 0) fields.at(i) = static_cast<std::uint64_t>(std::stoll(word));  // first: a letter
  }
  return fields;
}

// In seconds since 1970.
std::optional<double> BootTime() {
  std::ifstream file("/proc/stat");
  std::string word;
  while (file >> word) {
    double seconds = 0;
    if (word == "btime" && file >> seconds) return seconds;
  }
  return std::nullopt;
}

std::uint64_t CountDescriptors() {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir("/proc/self/fd"), closedir);
  if (!directory) return 0;
  std::uint64_t count = 0;
  while (const dirent* const entry = readdir(directory.get())) {
    if (entry->d_name[0] != '.') ++count;
  }
  return count - 1;  // without the directory itself
}

}  // namespace

std::optional<ProcessUsage> ReadProcessUsage() {
  const auto fields = ReadStat();
  const auto boot = BootTime();
  if (!fields || !boot) return std::nullopt;
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  return ProcessUsage{
      .cpu_seconds = static_cast<double>((*fields)[kUserTicks] + (*fields)[kSystemTicks]) / ticks,
      .virtual_bytes = (*fields)[kVirtualBytes],
      .resident_bytes =
          (*fields)[kResidentPages] * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)),
      .started = *boot + static_cast<double>((*fields)[kStartTicks]) / ticks,
      .open_descriptors = CountDescriptors(),
      .most_descriptors = limit.rlim_cur};
}

}  // namespace redlock::observe
