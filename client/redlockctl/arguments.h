// Takes from the arguments of redlockctl what CLI11 would change: it interprets brackets.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace redlockctl {

struct Arguments {
  std::vector<std::string> own;  // without the name of the program
  // What follows KEY in `run KEY [--] COMMAND ...`, untouched.
  std::vector<std::string> command;
  // The keys of a command that locks several together, untouched; they are in `own` too.
  std::vector<std::string> keys;
};

// `app` and its subcommands must know all their options.
[[nodiscard]] Arguments Separate(const CLI::App& app, int argc, char** argv);

}  // namespace redlockctl
