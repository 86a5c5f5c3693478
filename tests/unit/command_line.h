// A fixture for tests of the configuration.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/config/command_line.h"

#define EXPECT_CONTAINS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

namespace redlock::config {

class CommandLineTest : public ::testing::Test {
 protected:
  std::optional<Config> Parse(std::vector<std::string> arguments) {
    auto command = ParseCommandLine(std::move(arguments), variables, output);
    if (!command) return std::nullopt;
    settings = AsToml(command->settings);
    warnings = std::move(command->warnings);
    return std::move(command->config);
  }
  // The error message of the rejection.
  std::string Refusal(std::vector<std::string> arguments) {
    try {
      (void)Parse(std::move(arguments));
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "(accepted)";
  }

  Environment variables;
  std::string output, settings;
  std::vector<std::string> warnings;
};

}  // namespace redlock::config
