#include "server/rpc/requests.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/empty.pb.h>
#include <google/protobuf/unknown_field_set.h>

#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "server/core/format.h"
#include "server/core/utf8.h"
#include "server/rpc/compression.h"
#include "server/rpc/message.h"

namespace redlock::rpc {
namespace {

constexpr std::size_t kMaxKeyBytes = 512;
constexpr std::size_t kMaxTokenBytes = 128;
constexpr int kMaxKeys = 64;
constexpr int kMinHolders = 2;
constexpr std::size_t kMaxKeysBytes = 8192;
constexpr std::string_view kReservedPrefix = "redlockd:";
constexpr Duration kMinTtl = std::chrono::milliseconds(10);
constexpr Duration kMinGrace = std::chrono::milliseconds(100);
constexpr Duration kDefaultAdoptionTtl = std::chrono::seconds(30);
constexpr Duration kLeastKeepFor = std::chrono::milliseconds(1);
constexpr Duration kMinInterval = std::chrono::milliseconds(1);
constexpr Duration kLongest = std::chrono::hours(24 * 365);

using std::chrono::duration_cast;
using std::chrono::milliseconds;

// Walks the wire format along with the message's descriptor and names each text that is not UTF-8.
void FindBadText(const std::string& wire, const google::protobuf::Descriptor& description,
                 const std::string& prefix, Violations& violations) {
  google::protobuf::Empty all_unknown;
  if (!all_unknown.ParseFromString(wire)) return;
  const auto& fields = all_unknown.GetReflection()->GetUnknownFields(all_unknown);
  std::map<int, int> seen;
  for (int i = 0; i < fields.field_count(); ++i) {
    const auto& unknown = fields.field(i);
    const auto* const field = description.FindFieldByNumber(unknown.number());
    if (field == nullptr ||
        unknown.type() != google::protobuf::UnknownField::TYPE_LENGTH_DELIMITED) {
      continue;
    }
    std::string path = prefix + field->name();
    if (field->is_repeated()) path += "[" + std::to_string(seen[unknown.number()]++) + "]";
    if (field->type() == google::protobuf::FieldDescriptor::TYPE_STRING) {
      if (!IsUtf8(unknown.length_delimited())) violations.push_back({path, "must be UTF-8"});
    } else if (field->message_type() != nullptr) {
      FindBadText(unknown.length_delimited(), *field->message_type(), path + ".", violations);
    }
  }
}

// Checks the fields of one request and collects the faults.
class Checker {
 public:
  Checker(const RequestRules& rules, std::string prefix = {})
      : rules_(rules), prefix_(std::move(prefix)) {}

  Key CheckKey(const std::string& key, const std::string& field = "key") {
    if (key.empty()) {
      Fault(field, "must not be empty");
    } else if (key.size() > kMaxKeyBytes) {
      Fault(field, "must be at most 512 bytes, has " + std::to_string(key.size()));
    } else if (key.starts_with(kReservedPrefix)) {
      Fault(field, "keys beginning with \"redlockd:\" are reserved");
    }
    return Key(key);
  }

  // The fields `key` and `keys` of a message: one of them is set.
  template <typename Message>
  Key CheckKeys(const Message& message) {
    if (message.keys().empty()) return CheckKey(message.key());
    if (!message.key().empty()) Fault("key", "must be empty if keys is set");
    const auto count = message.keys_size();
    if (count < 2 || count > kMaxKeys) {
      Fault("keys", "must have from 2 to 64 entries, has " + std::to_string(count) +
                        (count == 1 ? ": set key for a single one" : ""));
      return {};
    }
    std::size_t bytes = 0;
    std::set<std::string_view> names;
    for (int i = 0; i < count; ++i) {
      const std::string& name = message.keys(i);
      const std::string field = "keys[" + std::to_string(i) + "]";
      (void)CheckKey(name, field);
      if (!names.insert(name).second) Fault(field, "is given twice");
      bytes += name.size();
    }
    if (bytes > kMaxKeysBytes) {
      Fault("keys", "must have at most 8192 bytes together, have " + std::to_string(bytes));
    }
    return Key::Of({message.keys().begin(), message.keys().end()});
  }

  // Of a message with `mode` and `max_holders`.
  template <typename Message>
  Key CheckClaim(const Message& message) {
    Key key = CheckKeys(message);
    if (message.max_holders() != 0) return CheckSemaphore(message, key);
    switch (message.mode()) {
      case v1::LOCK_MODE_UNSPECIFIED:
      case v1::LOCK_MODE_EXCLUSIVE:
        return key;
      case v1::LOCK_MODE_SHARED:
        return key.Shared();
      default:  // of a newer client
        Fault("mode", "must be LOCK_MODE_EXCLUSIVE or LOCK_MODE_SHARED");
        return key;
    }
  }

  // The same of a message with `slot`.
  template <typename Message>
  Key CheckHeldClaim(const Message& message) {
    Key key = CheckClaim(message);
    if (!key.IsSemaphore()) {
      if (message.slot() != 0) Fault("slot", "must be 0 unless max_holders is set");
      return key;
    }
    if (message.slot() < 0 || message.slot() > key.limit()) {
      Fault("slot", "must be from 1 to max_holders, which is " + std::to_string(key.limit()) +
                        ", or 0 for the slot that the token has, is " +
                        std::to_string(message.slot()));
      return key;
    }
    return key.Slot(key.limit(), message.slot());
  }

  template <typename Message>
  FencingToken CheckDowngrade(const Message& message, const Key& key) {
    if (message.downgrade_from() > kMaxFencingToken.value) {
      Fault("downgrade_from", "must be a fencing token, which is at most 2^53 - 1");
    } else if (message.downgrade_from() != 0 && !key.IsShared()) {
      Fault("downgrade_from", "must be 0 unless mode is LOCK_MODE_SHARED");
    }
    return {message.downgrade_from()};
  }

  OwnerToken CheckToken(const std::string& token) {
    if (token.starts_with(kReservedPrefix)) {
      Fault("token", "tokens beginning with \"redlockd:\" are reserved");
    } else if (token.empty()) {
      Fault("token", "must not be empty");
    } else if (token.size() > kMaxTokenBytes) {
      Fault("token", "must be at most 128 bytes, has " + std::to_string(token.size()));
    }
    return OwnerToken(token);
  }

  OwnerLabel CheckOwner(const std::string& owner) {
    if (owner.size() > kMaxLabelBytes) {
      Fault("owner", "must be at most 128 bytes, has " + std::to_string(owner.size()));
    }
    return OwnerLabel(owner);
  }

  PublishedValue CheckValue(const std::string& value) {
    if (value.size() > kMaxValueBytes) {
      Fault("value", "must be at most 4096 bytes, has " + std::to_string(value.size()));
    }
    return PublishedValue(value);
  }

  // Who acquires, of a message with `owner`, `value` and `lock_delay`.
  template <typename Message>
  Owner CheckOwnerOf(const Message& message, Duration ttl) {
    Owner owner{.label = CheckOwner(message.owner())};
    owner.value = CheckValue(message.value());
    if (message.has_lock_delay()) {
      owner.lock_delay = CheckDuration("lock_delay", message.lock_delay(), {}, rules_.max_ttl);
      if (ttl + owner.lock_delay > rules_.max_ttl) {
        Fault("lock_delay", "must not exceed max_ttl together with ttl: " + InWords(ttl) + " and " +
                                InWords(owner.lock_delay) + " are more than " +
                                InWords(rules_.max_ttl));
      }
    }
    return owner;
  }

  Duration CheckTtl(bool is_set, const google::protobuf::Duration& ttl) {
    if (!is_set) {
      Fault("ttl", "must be set and " + Range(kMinTtl, rules_.max_ttl));
      return kMinTtl;
    }
    return CheckDuration("ttl", ttl, kMinTtl, rules_.max_ttl);
  }

  Duration CheckDuration(const std::string& field, const google::protobuf::Duration& value,
                         Duration low, Duration high) {
    // Checked before the conversion, which could overflow.
    constexpr std::int64_t kSecondsBound = std::int64_t{1} << 33;
    constexpr std::int32_t kNanosBound = 1'000'000'000;
    const bool sane = value.seconds() > -kSecondsBound && value.seconds() < kSecondsBound &&
                      value.nanos() > -kNanosBound && value.nanos() < kNanosBound;
    const Duration duration =
        sane ? std::chrono::seconds(value.seconds()) + Duration(value.nanos()) : Duration::min();
    if (duration < low || duration > high) {
      Fault(field, Range(low, high) + (sane ? ", is " + InWords(duration) : ""));
      return low;
    }
    return duration_cast<milliseconds>(duration);
  }

  RetryPolicy CheckRetry(const v1::RetryPolicy& retry) {
    RetryPolicy policy = rules_.default_retry;
    if (retry.has_max_retries()) policy.max_retries = retry.max_retries();
    if (policy.max_retries < RetryPolicy::kNoLimit) {
      Fault("retry.max_retries", "must be -1 (no limit), 0 (a single try) or more");
    }
    if (retry.has_min_delay()) {
      policy.min_delay = CheckDuration("retry.min_delay", retry.min_delay(), {}, kLongest);
    }
    if (retry.has_max_jitter()) {
      policy.max_jitter = CheckDuration("retry.max_jitter", retry.max_jitter(), {}, kLongest);
    }
    return policy;
  }

  template <typename Message>
  Duration CheckInterval(const Message& message, Duration ttl) {
    if (!message.has_interval()) return ttl / 2;
    return CheckDuration("interval", message.interval(), kMinInterval, ttl - kMinInterval);
  }

  template <typename Message>
  std::optional<Duration> CheckLifetime(const Message& message) {
    if (!message.has_max_lifetime()) return std::nullopt;
    return CheckDuration("max_lifetime", message.max_lifetime(), kMinInterval, kLongest);
  }

  void Fault(const std::string& field, const std::string& description) {
    violations_.push_back({prefix_ + field, description});
  }

  template <typename Command>
  Checked<Command> Result(Command command) {
    if (!violations_.empty()) return std::move(violations_);
    return command;
  }

  Violations& violations() { return violations_; }

 private:
  template <typename Message>
  Key CheckSemaphore(const Message& message, const Key& key) {
    const int limit = message.max_holders();
    if (limit < kMinHolders || limit > kMostSlots) {
      Fault("max_holders", "must be from 2 to 64, or 0 for a lock, is " + std::to_string(limit));
      return key;
    }
    if (!message.keys().empty()) Fault("keys", "must be empty if max_holders is set");
    const bool shared =
        message.mode() != v1::LOCK_MODE_UNSPECIFIED && message.mode() != v1::LOCK_MODE_EXCLUSIVE;
    if (shared) Fault("mode", "must not be LOCK_MODE_SHARED if max_holders is set");
    return key.Slot(limit, 0);
  }

  static std::string Range(Duration low, Duration high) {
    return "must be from " + InWords(low) + " to " + InWords(high);
  }

  const RequestRules& rules_;
  const std::string prefix_;
  Violations violations_;
};

}  // namespace

Violations ParseMessage(const grpc::ByteBuffer& buffer, google::protobuf::Message& message) {
  if (Parse(buffer, message)) return {};
  if (IsPacked(buffer)) {
    return {{"(message)", "is not valid gzip, or larger than --max-message-bytes when unpacked"}};
  }
  Violations violations;
  grpc::Slice whole;
  if (buffer.DumpToSingleSlice(&whole).ok()) {
    const std::string wire(reinterpret_cast<const char*>(whole.begin()), whole.size());
    FindBadText(wire, *message.GetDescriptor(), "", violations);
  }
  if (violations.empty()) violations.push_back({"(message)", "is not a valid protobuf message"});
  return violations;
}

Checked<AcquireCommand> Check(const v1::AcquireRequest& request, const RequestRules& rules) {
  Checker checker(rules);
  AcquireCommand command{
      .key = checker.CheckClaim(request),
      .ttl = checker.CheckTtl(request.has_ttl(), request.ttl()),
      .token = request.has_token() ? checker.CheckToken(request.token()) : OwnerToken(),
      .retry = checker.CheckRetry(request.retry()),
      .extend_if_held = request.extend_if_held(),
      .owner = {},
      .deadline = std::nullopt,
  };
  command.owner = checker.CheckOwnerOf(request, command.ttl);
  if (request.extend_if_held() && !request.has_token()) {
    checker.Fault("token", "must be set if extend_if_held is set");
  }
  return checker.Result(std::move(command));
}

Checked<ExtendCommand> Check(const v1::ExtendRequest& request, const RequestRules& rules) {
  Checker checker(rules);
  ExtendCommand command{
      .key = checker.CheckHeldClaim(request),
      .token = checker.CheckToken(request.token()),
      .ttl = checker.CheckTtl(request.has_ttl(), request.ttl()),
      .retry = checker.CheckRetry(request.retry()),
      .deadline = std::nullopt,
      .raise_to = {},
  };
  command.downgrade_from = checker.CheckDowngrade(request, command.key);
  return checker.Result(std::move(command));
}

Checked<ReleaseCommand> Check(const v1::ReleaseRequest& request, const RequestRules& rules) {
  Checker checker(rules);
  ReleaseCommand command;
  command.key = checker.CheckKeys(request);
  command.token = checker.CheckToken(request.token());
  if (request.has_keep_for()) {
    command.keep_for =
        checker.CheckDuration("keep_for", request.keep_for(), kLeastKeepFor, rules.max_ttl);
  }
  return checker.Result(std::move(command));
}

Checked<ProclaimCommand> Check(const v1::ProclaimRequest& request, const RequestRules& rules) {
  Checker checker(rules);
  ProclaimCommand command{.key = checker.CheckKeys(request),
                          .token = checker.CheckToken(request.token()),
                          .value = checker.CheckValue(request.value())};
  return checker.Result(std::move(command));
}

Checked<GiveUpCommand> Check(const v1::GiveUpOperation& operation, const RequestRules& rules) {
  Checker checker(rules);
  GiveUpCommand command;
  command.key = checker.CheckClaim(operation);
  command.token = checker.CheckToken(operation.token());
  return checker.Result(std::move(command));
}

Checked<InspectCommand> Check(const v1::InspectRequest& request, const RequestRules& rules) {
  Checker checker(rules);
  InspectCommand command{.key = checker.CheckKey(request.key())};
  return checker.Result(std::move(command));
}

Checked<ObserveCommand> Check(const v1::ObserveRequest& request, const RequestRules& rules) {
  Checker checker(rules);
  ObserveCommand command{.key = checker.CheckKey(request.key())};
  return checker.Result(std::move(command));
}

Checked<AdoptCommand> Check(const v1::AdoptOperation& operation, const RequestRules& rules) {
  Checker checker(rules);
  AdoptCommand command;
  command.key = checker.CheckHeldClaim(operation);
  command.token = checker.CheckToken(operation.token());
  command.ttl = operation.has_ttl() ? checker.CheckTtl(true, operation.ttl())
                                    : std::min(kDefaultAdoptionTtl, rules.max_ttl);
  command.interval = command.ttl / 2;
  if (operation.has_sequence()) {
    if (operation.sequence() == 0 || operation.sequence() > kMaxFencingToken.value) {
      checker.Fault("sequence", "must be from 1 to 2^53 - 1");
    }
    command.sequence = operation.sequence();
  }
  command.downgrade_from = checker.CheckDowngrade(operation, command.key);
  return checker.Result(std::move(command));
}

Checked<Duration> CheckGrace(const google::protobuf::Duration& grace, const RequestRules& rules) {
  Checker checker(rules);
  return checker.Result(checker.CheckDuration("disconnect_grace", grace, kMinGrace,
                                              std::max(kMinGrace, rules.max_ttl)));
}

Checked<HoldCommand> CheckHold(const v1::AcquireRequest& request, const RequestRules& rules) {
  auto checked = Check(request, rules);
  if (auto* faults = std::get_if<Violations>(&checked)) return std::move(*faults);
  auto acquire = std::get<AcquireCommand>(std::move(checked));
  const Duration interval = acquire.ttl / 2;
  return HoldCommand{
      .acquire = std::move(acquire), .interval = interval, .max_lifetime = std::nullopt};
}

Checked<HoldCommand> Check(const v1::HoldRequest& request, const RequestRules& rules) {
  Checker checker(rules);
  const Duration ttl = checker.CheckTtl(request.has_ttl(), request.ttl());
  HoldCommand command{
      .acquire = {.key = checker.CheckClaim(request),
                  .ttl = ttl,
                  .token = request.has_token() ? checker.CheckToken(request.token()) : OwnerToken(),
                  .retry = checker.CheckRetry(request.retry()),
                  .extend_if_held = false,
                  .owner = checker.CheckOwnerOf(request, ttl),
                  .deadline = std::nullopt,
                  .queued = nullptr},
      .interval = checker.CheckInterval(request, ttl),
      .max_lifetime = checker.CheckLifetime(request),
  };
  return checker.Result(std::move(command));
}

Checked<std::vector<WatchCommand>> Check(const v1::WatchRequest& request,
                                         const RequestRules& rules) {
  Checker checker(rules);
  std::vector<WatchCommand> commands;
  if (request.items().empty()) checker.Fault("items", "must not be empty");
  if (static_cast<std::size_t>(request.items_size()) > rules.max_items) {
    checker.Fault("items", "must have at most " + std::to_string(rules.max_items) +
                               " entries, has " + std::to_string(request.items_size()));
    return checker.Result(std::move(commands));
  }
  const std::optional<Duration> max_lifetime = checker.CheckLifetime(request);
  std::set<std::string> keys;
  for (int i = 0; i < request.items_size(); ++i) {
    const v1::WatchItem& item = request.items(i);
    Checker of_item(rules, "items[" + std::to_string(i) + "].");
    const Duration ttl = of_item.CheckTtl(item.has_ttl(), item.ttl());
    commands.push_back({.key = of_item.CheckHeldClaim(item),
                        .token = of_item.CheckToken(item.token()),
                        .ttl = ttl,
                        .interval = of_item.CheckInterval(item, ttl),
                        .keep_watching_after_loss = request.keep_watching_after_loss(),
                        .max_lifetime = max_lifetime});
    if (!keys.emplace(commands.back().key.names()).second) {
      of_item.Fault(item.keys().empty() ? "key" : "keys", "is given twice");
    }
    for (Violation& violation : of_item.violations()) {
      checker.violations().push_back(std::move(violation));
    }
  }
  return checker.Result(std::move(commands));
}

Checked<ChangeRequest> Check(const v1::ChangeNodeSetRequest& request) {
  Checker checker({});
  const bool changes = request.add_size() > 0 || request.remove_size() > 0 || request.has_max_ttl();
  if (int{changes} + int{request.abort()} + int{request.init()} != 1) {
    checker.Fault("(message)", "must ask for add, remove or max_ttl, or for abort, or for init");
  }
  const auto check_names = [&checker](const char* field, const auto& names) {
    for (const std::string& name : names) {
      if (name.empty()) checker.Fault(field, "must not contain an empty name");
      if (std::ranges::count(names, name) == 1) continue;
      checker.Fault(field, "must not name " + name + " twice");
      return;
    }
  };
  check_names("add", request.add());
  check_names("remove", request.remove());
  ChangeRequest change{.add = {request.add().begin(), request.add().end()},
                       .remove = {request.remove().begin(), request.remove().end()},
                       .max_ttl = std::nullopt,
                       .abort = request.abort()};
  if (request.has_max_ttl()) {
    change.max_ttl = checker.CheckDuration("max_ttl", request.max_ttl(), kLeastMaxTtl, kMostMaxTtl);
  }
  return checker.Result(std::move(change));
}

}  // namespace redlock::rpc
