#include "server/config/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <utility>

#include "server/config/declarations.h"
#include "server/config/spelling.h"
#include "server/config/toml_file.h"

namespace redlock::config {
namespace {

struct Flags {
  GivenByName given;
  std::string config_file;
  bool check_config = false;
};

// A TOML value as it is written on the command line: without quotes and brackets.
std::string HelpText(std::string value) {
  if (value.starts_with('[')) value = value.substr(1, value.size() - 2);
  value.erase(std::remove(value.begin(), value.end(), '"'), value.end());
  return value;
}

void AddFlag(CLI::App& app, const Setting& setting, GivenByName& given) {
  const std::string help = setting.help + " [" + setting.variable() + "]";
  const auto store = [&given, name = setting.name](const CLI::results_t& values) {
    for (const std::string& value : values) given[name].values.push_back({value, "--" + name});
    return true;
  };
  if (setting.type == Setting::Type::kSwitch) {
    // The text as it was written, or "true": the setting itself refuses what is neither true nor
    // false. CLI11's own conversion differs between its versions, and the later ones take any text
    // for false.
    app.add_flag(setting.flag(), help)
        ->each([store](const std::string& text) { store({text}); })
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->group(setting.group);
    return;
  }
  const bool list = setting.type == Setting::Type::kList;
  app.add_option(setting.flag(), store, help)
      ->type_name(setting.placeholder)
      ->default_str(HelpText(setting.show()))
      ->multi_option_policy(list ? CLI::MultiOptionPolicy::TakeAll : CLI::MultiOptionPolicy::Throw)
      ->group(setting.group);
}

// The name of an option that was written as --name or --name=value.
std::string_view OptionName(std::string_view argument) {
  if (!argument.starts_with("--")) return {};
  const std::string_view name = argument.substr(2, argument.find('=') - 2);
  const bool plain = std::all_of(name.begin(), name.end(),
                                 [](unsigned char c) { return std::islower(c) != 0 || c == '-'; });
  return plain ? name : std::string_view();
}

// An argument may contain a password, so the message quotes only the name of an option.
[[noreturn]] void FailUnknown(const std::string& argument, std::vector<std::string> names) {
  const std::string_view name = OptionName(argument);
  if (name.empty()) {
    throw ConfigError(
        "an argument is neither an option nor the value of one; options start with --, and each "
        "value follows its option, as in --node redis://10.0.0.1:6379");
  }
  names.insert(names.begin(), {"config", "check-config", "help", "version"});
  const std::string nearest = NearestOf(name, names);
  throw ConfigError("--" + std::string(name) + ": unknown option" +
                    (nearest.empty() ? "" : "; did you mean --" + nearest + "?"));
}

// Returns nothing for --help and --version.
std::optional<Flags> ParseFlags(std::vector<std::string> arguments, const Settings& settings,
                                std::string& output) {
  CLI::App app(
      "redlockd - a distributed lock service: Redlock over independent Redis nodes, with a gRPC "
      "API.\n"
      "Try it:  redlockd --dev        Serve:  redlockd --node redis://a:6379 --node ...",
      "redlockd");
  Flags flags;
  app.set_version_flag("--version", "redlockd " REDLOCKD_VERSION);
  app.add_option("--config", flags.config_file,
                 "TOML file with options, named like the flags: node-timeout = \"50ms\" "
                 "[REDLOCKD_CONFIG]")
      ->type_name("PATH");
  app.add_flag("--check-config", flags.check_config,
               "Check the configuration and the files that it names, print the settings without "
               "secrets, and exit with status 0, or 2 if there is an error");
  for (const Setting& setting : settings.all()) AddFlag(app, setting, flags.given);
  app.footer(
      "Exit status: 0 after SIGTERM or SIGINT; 1 if a later start may succeed, for example if an\n"
      "address is in use; 2 if the configuration is wrong, or a file that it names cannot be used");
  app.allow_extras();
  try {
    std::reverse(arguments.begin(), arguments.end());  // CLI11 expects them in reverse order
    app.parse(std::move(arguments));
  } catch (const CLI::CallForHelp&) {
    output = app.help();
    return std::nullopt;
  } catch (const CLI::CallForVersion&) {
    output = app.version() + "\n";
    return std::nullopt;
  } catch (const CLI::ConversionError&) {  // quotes the value
    throw ConfigError("--check-config: must be true or false, if it has a value");
  } catch (const CLI::ParseError& error) {
    throw ConfigError(error.what());
  }
  const auto unknown = app.remaining();
  if (!unknown.empty()) FailUnknown(unknown.front(), settings.names());
  return flags;
}

// Stores the values of a setting. Errors name the place where the value was written.
void Store(const Setting& setting, const Given& given) {
  if (setting.clear) setting.clear();
  for (const Given::Value& value : given.values) {
    try {
      setting.set(value.text);
    } catch (const ConfigError& error) {
      throw ConfigError(value.where + std::string(error.what()).substr(setting.flag().size()));
    }
  }
}

}  // namespace

std::optional<CommandLine> ParseCommandLine(std::vector<std::string> arguments,
                                            const Environment& environment, std::string& output) {
  CommandLine result;
  Config& config = result.config;
  Settings settings;
  Declare(settings, config);
  const auto flags = ParseFlags(std::move(arguments), settings, output);
  if (!flags) return std::nullopt;
  const FromEnvironment variables = ReadEnvironment(environment, settings);
  result.check_config = flags->check_config;
  result.config_file = flags->config_file.empty() ? variables.config_file : flags->config_file;
  GivenByName file;
  if (!result.config_file.empty()) file = ReadTomlFile(result.config_file, settings);

  const std::vector<std::pair<const char*, const GivenByName*>> sources = {
      {"flag", &flags->given}, {"environment", &variables.given}, {"file", &file}};
  for (const Setting& setting : settings.all()) {
    const char* source = "default";
    for (const auto& [name, given] : sources) {
      const auto found = given->find(setting.name);
      if (found == given->end()) continue;
      Store(setting, found->second);
      source = name;
      break;
    }
    result.settings.push_back({setting.group, setting.name, setting.show(), source});
  }
  config.lock.guard.quarantine = config.max_ttl;
  config.lock.node_set.max_ttl = config.max_ttl;
  config.lock.node_set.fence_retention = config.fence_retention;
  Validate(config);
  result.warnings = Warnings(config);
  for (const std::string& variable : variables.unknown) {
    result.warnings.push_back("the environment variable " + variable +
                              " is not an option and has no effect");
  }
  return result;
}

std::string AsToml(const std::vector<EffectiveSetting>& settings) {
  std::string text, group;
  for (const EffectiveSetting& setting : settings) {
    if (setting.group != group) {
      group = setting.group;
      text += "\n# " + group + "\n";
    }
    // An empty list is not allowed in a file.
    text += (setting.value == "[]" ? "# " : "") + setting.name + " = " + setting.value + "  # " +
            setting.source + "\n";
  }
  return text;
}

}  // namespace redlock::config
