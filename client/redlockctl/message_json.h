// Messages of the contract as JSON, with the names of the proto and with unset fields.
#pragma once

#include <google/protobuf/message.h>

#include <string>

namespace redlockctl {

// Returns one line.
[[nodiscard]] std::string ToJson(const google::protobuf::Message& message);

}  // namespace redlockctl
