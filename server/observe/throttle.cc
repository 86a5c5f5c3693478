#include "server/observe/throttle.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace redlock::observe {
namespace {

// Never destroyed, because threads that outlive main() may log.
Throttle& OfTheProcess() {
  static auto& throttle = *new Throttle([](const Throttle::Line& line) {
    std::optional<TaggedLines> tagged;
    if (line.tag) tagged.emplace(*line.tag);
    spdlog::log(line.level, "{}", line.text);
  });
  return throttle;
}

}  // namespace

void Throttle::TokenBucket::Fill(Clock::time_point now) {
  if (now <= filled_) return;
  const std::chrono::duration<double> passed = now - std::exchange(filled_, now);
  tokens_ = std::min(rate_.burst, tokens_ + passed.count() * rate_.per_second);
}

Throttle::Source& Throttle::Find(Group& group, std::string_view source) {
  auto& sources = group.sources;
  if (const auto found = sources.find(source); found != sources.end()) return found->second;
  if (sources.size() >= kMostSources) {
    const auto quiet = std::min_element(
        sources.begin(), sources.end(),
        [](const auto& a, const auto& b) { return a.second.used < b.second.used; });
    group.held_back += quiet->second.held_back;
    sources.erase(quiet);
  }
  return sources.try_emplace(std::string(source)).first->second;
}

bool Throttle::TryWrite(Clock::time_point now, Group& group, Source& source, Line& line) {
  group.bucket.Fill(now);
  source.bucket.Fill(now);
  if (group.bucket.empty() || source.bucket.empty()) return false;
  group.bucket.Take();
  source.bucket.Take();
  const std::size_t more = std::exchange(source.held_back, 0) + std::exchange(group.held_back, 0);
  if (more > 0) line.text += " (" + std::to_string(more) + " more not shown)";
  write_(line);
  return true;
}

void Throttle::Log(Clock::time_point now, std::string_view group_name, std::string_view source_name,
                   Line line) {
  const MutexLock lock(mutex_);
  auto found = groups_.find(group_name);
  if (found == groups_.end()) found = groups_.try_emplace(std::string(group_name)).first;
  Group& group = found->second;
  Source& source = Find(group, source_name);
  source.used = now;
  if (TryWrite(now, group, source, line)) {
    source.last.reset();
    return;
  }
  ++source.held_back;
  line.text.resize(std::min(line.text.size(), kLongestHeldBack));
  source.last = std::move(line);
}

void Throttle::Tend(Clock::time_point now) {
  const MutexLock lock(mutex_);
  for (auto& [name, group] : groups_) {
    for (auto each = group.sources.begin(); each != group.sources.end();) {
      Source& source = each->second;
      if (source.last) {
        --source.held_back;  // it is shown now
        if (TryWrite(now, group, source, *source.last)) {
          source.last.reset();
        } else {
          ++source.held_back;
        }
      }
      source.bucket.Fill(now);
      each = !source.last && source.bucket.full() ? group.sources.erase(each) : std::next(each);
    }
  }
}

void LogThrottled(spdlog::level::level_enum level, std::string_view group, std::string_view source,
                  std::string text, std::optional<RequestTag> tag) {
  OfTheProcess().Log(Throttle::Clock::now(), group, source,
                     {level, std::move(text), std::move(tag)});
}

void TendThrottledLines() { OfTheProcess().Tend(Throttle::Clock::now()); }

}  // namespace redlock::observe
