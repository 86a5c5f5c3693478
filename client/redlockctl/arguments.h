// Separates the command of `redlockctl run` from the arguments of redlockctl.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace redlockctl {

struct Arguments {
  std::vector<std::string> own;  // without the name of the program
  // What follows KEY in `run KEY [--] COMMAND ...`, untouched: CLI11 would interpret brackets.
  std::vector<std::string> command;
};

// `app` and its subcommand `run` must know all their options.
[[nodiscard]] Arguments Separate(const CLI::App& app, int argc, char** argv);

}  // namespace redlockctl
