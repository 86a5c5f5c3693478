#include "client/redlockctl/held_lock.h"

#include <pthread.h>
#include <signal.h>

#include <utility>

#include "client/redlockctl/shown.h"

namespace redlockctl {

namespace client = redlock::client;

int HeldLock::Wake() { return SIGRTMIN; }

HeldLock::HeldLock(client::Client& locks, const RunOptions& run, client::AcquireOptions options,
                   const Printer& printer)
    : owner_(pthread_self()) {
  options.stop = give_up_.get_token();
  options.queued = [&printer, listed = Listed(run.keys)](int position) {
    printer.PrintQueued(listed, position);
  };
  std::string key = client::together(run.keys);
  if (run.shared) key = client::shared(key);
  if (run.max_holders != 0) key = client::semaphore(key, run.max_holders);
  locks.acquire_async(key, std::move(options), [this](client::Result<client::Lock> result) {
    const std::lock_guard lock(mutex_);
    result_.emplace(std::move(result));
    pthread_kill(owner_, Wake());
  });
}

client::Result<client::Lock>* HeldLock::result() {
  const std::lock_guard lock(mutex_);
  return result_ ? &*result_ : nullptr;
}

void HeldLock::WatchForLoss() {
  on_loss_.emplace((*result_)->lost(), [owner = owner_] { pthread_kill(owner, Wake()); });
}

}  // namespace redlockctl
