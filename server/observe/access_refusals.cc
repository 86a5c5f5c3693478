#include "server/observe/access_refusals.h"

#include <atomic>

namespace redlock::observe {
namespace {

std::array<std::atomic<std::uint64_t>, kAccessRefusals.size()> counts;

std::atomic<std::uint64_t>& Counter(AccessRefusal refusal) {
  return counts.at(static_cast<std::size_t>(refusal));
}

}  // namespace

void Count(AccessRefusal refusal) { ++Counter(refusal); }
std::uint64_t CountOf(AccessRefusal refusal) { return Counter(refusal); }

}  // namespace redlock::observe
