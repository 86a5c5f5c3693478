// An immutable string whose copies share one allocation.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <new>
#include <string_view>
#include <utility>

namespace redlock {

// One pointer wide, and one allocation of 12 bytes more than the characters: there may be a million
// keys and tokens, and every step of a round copies some. Thread-safe as std::shared_ptr is: copies
// may be used on different threads.
class SharedText {
 public:
  SharedText() = default;
  explicit SharedText(std::string_view text) {
    if (text.empty()) return;
    void* const memory = ::operator new(sizeof(Block) + text.size());
    block_ = new (memory) Block{1, 0, static_cast<std::uint32_t>(text.size())};
    std::memcpy(static_cast<char*>(memory) + sizeof(Block), text.data(), text.size());
  }
  SharedText(const SharedText& other) : block_(other.block_) {
    if (block_ != nullptr) block_->references.fetch_add(1, std::memory_order_relaxed);
  }
  SharedText(SharedText&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  SharedText& operator=(SharedText other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~SharedText() {
    if (block_ == nullptr) return;
    if (block_->references.fetch_sub(1, std::memory_order_acq_rel) == 1) ::operator delete(block_);
  }

  // Valid as long as this object or a copy of it is.
  [[nodiscard]] std::string_view view() const {
    if (block_ == nullptr) return {};
    return {reinterpret_cast<const char*>(block_ + 1), block_->size};
  }
  [[nodiscard]] bool empty() const { return block_ == nullptr; }
  // Of the characters. Computed once for all copies, because each operation looks its key and its
  // token up several times.
  [[nodiscard]] std::uint32_t hash() const {
    if (block_ == nullptr) return 0;
    std::uint32_t hash = block_->hash.load(std::memory_order_relaxed);
    if (hash == 0) {
      hash = static_cast<std::uint32_t>(std::hash<std::string_view>()(view())) | 1;
      block_->hash.store(hash, std::memory_order_relaxed);
    }
    return hash;
  }
  bool operator==(const SharedText& other) const {
    return block_ == other.block_ || view() == other.view();
  }

 private:
  struct Block {  // the characters follow
    std::atomic<std::uint32_t> references;
    std::atomic<std::uint32_t> hash;  // 0: not computed yet
    std::uint32_t size;
  };

  Block* block_ = nullptr;  // null if empty
};

}  // namespace redlock
