#include "client/cpp/src/boot_timer.h"

#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <system_error>

namespace redlock::client {
namespace {

[[noreturn]] void Throw(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

}  // namespace

TimePoint SystemClock::Now() {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return TimePoint(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec));
}

std::uint64_t SystemRandom::Bits() {
  std::uint64_t bits = 0;
  // getrandom() returns up to 256 bytes at once. Until the kernel's generator is initialized, it
  // blocks and may be interrupted.
  while (getrandom(&bits, sizeof(bits), 0) != sizeof(bits)) {
    if (errno != EINTR) Throw("getrandom");
  }
  return bits;
}

BootTimer::BootTimer() : fd_(timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC)) {
  if (fd_ < 0) Throw("timerfd_create");
}

BootTimer::~BootTimer() { close(fd_); }

void BootTimer::Set(TimePoint when) {
  constexpr auto kSecond = 1'000'000'000;
  // A time in the past fires at once; zero would disarm the timer.
  const auto ns = std::max<Duration::rep>(when.time_since_epoch().count(), 1);
  const itimerspec at{.it_interval = {}, .it_value = {ns / kSecond, ns % kSecond}};
  timerfd_settime(fd_, TFD_TIMER_ABSTIME, &at, nullptr);
}

void BootTimer::Wait() const {
  std::uint64_t expirations = 0;
  while (read(fd_, &expirations, sizeof(expirations)) < 0 && errno == EINTR) {
  }
}

}  // namespace redlock::client
