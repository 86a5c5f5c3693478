// Where an operation that releases a key says so, so that no repair puts the key back meanwhile.
#pragma once

#include "server/core/types.h"

namespace redlock {

// Strand-confined.
class ReleasingKeys {
 public:
  virtual ~ReleasingKeys() = default;
  // From a release's start until the last node has answered it. Releases of one key may overlap.
  virtual void Begin(const Key& key) = 0;
  virtual void End(const Key& key) = 0;
  [[nodiscard]] virtual bool Contains(const Key& key) const = 0;
};

}  // namespace redlock
