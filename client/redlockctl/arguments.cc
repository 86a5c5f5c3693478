#include "client/redlockctl/arguments.h"

#include <algorithm>
#include <cstddef>

namespace redlockctl {
namespace {

// Whether `word`, an option of `app` or of `command`, takes the next word as its value.
bool TakesNextWord(const CLI::App& app, const CLI::App* command, const std::string& word) {
  const bool is_short = !word.starts_with("--");
  // A value is already attached in --ttl=5s and -cdate.
  if (is_short ? word.size() > 2 : word.find('=') != std::string::npos) return false;
  const CLI::Option* option = command != nullptr ? command->get_option_no_throw(word) : nullptr;
  if (option == nullptr) option = app.get_option_no_throw(word);
  return option != nullptr && option->get_items_expected_max() > 0;
}

bool IsOption(const std::string& word) { return word.size() > 1 && word.front() == '-'; }

// The arguments of `command` that are not options. `i`: the index of its first argument.
std::vector<std::string> Positionals(const CLI::App& app, const CLI::App& command,
                                     const std::vector<std::string>& words, std::size_t i) {
  std::vector<std::string> found;
  bool options_end = false;
  for (; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (options_end || !IsOption(word)) {
      found.push_back(word);
    } else if (word == "--") {
      options_end = true;
    } else if (TakesNextWord(app, &command, word)) {
      ++i;
    }
  }
  return found;
}

// Whether it locks several keys together.
bool TakesKeys(const CLI::App& command) {
  const CLI::Option* const key = command.get_option_no_throw("KEY");
  return key != nullptr && key->get_items_expected_max() > 1;
}

}  // namespace

Arguments Separate(const CLI::App& app, int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const CLI::App* run = nullptr;  // set once the subcommand has been seen
  bool has_key = false;
  std::size_t i = 0;
  for (; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (IsOption(word) && word != "--") {
      if (TakesNextWord(app, run, word)) ++i;
    } else if (run == nullptr) {
      if (word != "run" && word != "elect") {
        Arguments all{.own = words, .command = {}, .keys = {}};
        for (const CLI::App* const other : app.get_subcommands(
                 [&word](const CLI::App* each) { return each->check_name(word); })) {
          if (TakesKeys(*other)) all.keys = Positionals(app, *other, words, i + 1);
        }
        return all;
      }
      run = app.get_subcommand(word);
    } else if (!has_key && word == "--") {
      i += 2;  // KEY follows, even if it looks like an option
      break;
    } else if (has_key) {
      break;
    } else {
      has_key = true;
    }
  }
  const auto end = words.begin() + static_cast<std::ptrdiff_t>(std::min(i, words.size()));
  Arguments separated{.own = {words.begin(), end}, .command = {end, words.end()}, .keys = {}};
  if (!separated.command.empty() && separated.command.front() == "--") {
    separated.command.erase(separated.command.begin());
  }
  return separated;
}

}  // namespace redlockctl
