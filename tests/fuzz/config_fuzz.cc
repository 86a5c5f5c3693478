// Fuzzes command lines, one argument per line: accepted, or rejected with ConfigError.
#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string>
#include <vector>

#include "server/config/command_line.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::istringstream lines(std::string(reinterpret_cast<const char*>(data), size));
  std::vector<std::string> arguments;
  for (std::string line; std::getline(lines, line) && arguments.size() < 40;) {
    // Do not read files of this machine.
    if (line.find("config") != std::string::npos || line.find("file") != std::string::npos)
      return -1;
    arguments.push_back(line);
  }
  std::string output;
  try {
    (void)redlock::config::ParseCommandLine(arguments, {}, output);
  } catch (const redlock::config::ConfigError&) {
  }
  return 0;
}
