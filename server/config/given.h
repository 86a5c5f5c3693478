// The values that one source gives for a setting, and where each was written.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace redlock::config {

struct Given {
  struct Value {
    std::string text;
    std::string where;  // starts an error message: "--shards", "/etc/redlockd.toml:3: shards"
  };
  std::vector<Value> values;
};

using GivenByName = std::map<std::string, Given, std::less<>>;

}  // namespace redlock::config
