// A mutex that clang's thread-safety analysis understands: it reports a guarded member that is used
// without its mutex (tests/lint). See https://clang.llvm.org/docs/ThreadSafetyAnalysis.html.
//
// Most of the daemon needs no mutex, because a shard's state is confined to its strand
// (server/loop/event_loop.h).
#pragma once

#include <mutex>

#ifdef __clang__
#define REDLOCK_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define REDLOCK_THREAD_ANNOTATION(x)
#endif

// Of a member: it is used only while the mutex is held.
#define REDLOCK_GUARDED_BY(mutex) REDLOCK_THREAD_ANNOTATION(guarded_by(mutex))
// Of a function: its caller holds the mutex.
#define REDLOCK_REQUIRES(mutex) REDLOCK_THREAD_ANNOTATION(requires_capability(mutex))

namespace redlock {

class REDLOCK_THREAD_ANNOTATION(capability("mutex")) Mutex {
 public:
  void lock() REDLOCK_THREAD_ANNOTATION(acquire_capability()) { mutex_.lock(); }
  void unlock() REDLOCK_THREAD_ANNOTATION(release_capability()) { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

// Holds the mutex for as long as it exists. std::condition_variable_any can wait with it.
class REDLOCK_THREAD_ANNOTATION(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) REDLOCK_THREAD_ANNOTATION(acquire_capability(mutex))
      : mutex_(mutex) {
    mutex_.lock();
  }
  ~MutexLock() REDLOCK_THREAD_ANNOTATION(release_capability()) { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;
  void lock() REDLOCK_THREAD_ANNOTATION(acquire_capability()) { mutex_.lock(); }
  void unlock() REDLOCK_THREAD_ANNOTATION(release_capability()) { mutex_.unlock(); }

 private:
  Mutex& mutex_;
};

}  // namespace redlock
