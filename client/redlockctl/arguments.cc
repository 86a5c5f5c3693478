#include "client/redlockctl/arguments.h"

#include <algorithm>
#include <cstddef>

namespace redlockctl {
namespace {

// Whether `word`, an option of `app` or `run`, takes the next word as its value.
bool TakesNextWord(const CLI::App& app, const CLI::App* run, const std::string& word) {
  const bool is_short = !word.starts_with("--");
  // A value is already attached in --ttl=5s and -cdate.
  if (is_short ? word.size() > 2 : word.find('=') != std::string::npos) return false;
  const CLI::Option* option = run != nullptr ? run->get_option_no_throw(word) : nullptr;
  if (option == nullptr) option = app.get_option_no_throw(word);
  return option != nullptr && option->get_items_expected_max() > 0;
}

}  // namespace

Arguments Separate(const CLI::App& app, int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const CLI::App* run = nullptr;  // set once the subcommand has been seen
  bool has_key = false;
  std::size_t i = 0;
  for (; i < words.size(); ++i) {
    const std::string& word = words[i];
    const bool is_option = word.size() > 1 && word.front() == '-';
    if (is_option && word != "--") {
      if (TakesNextWord(app, run, word)) ++i;
    } else if (run == nullptr) {
      if (word != "run") return {.own = words, .command = {}};  // another subcommand
      run = app.get_subcommand("run");
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
  Arguments separated{.own = {words.begin(), end}, .command = {end, words.end()}};
  if (!separated.command.empty() && separated.command.front() == "--") {
    separated.command.erase(separated.command.begin());
  }
  return separated;
}

}  // namespace redlockctl
