#include "server/rpc/compression.h"

#include <grpc/compression.h>
#include <grpcpp/support/slice.h>
#include <zlib.h>

#include <algorithm>
#include <vector>

namespace redlock::rpc {
namespace {

constexpr std::size_t kFirstGuess = 1024;
constexpr std::size_t kGrowthFactor = 4;
constexpr int kGzipOnly = 16;  // added to the window bits

// zlib's state. Frees it at the end.
class Inflation {
 public:
  explicit Inflation(const grpc::Slice& packed) {
    stream_.next_in = const_cast<Bytef*>(packed.begin());  // zlib only reads it
    stream_.avail_in = static_cast<uInt>(packed.size());
    ready_ = inflateInit2(&stream_, MAX_WBITS | kGzipOnly) == Z_OK;
  }
  ~Inflation() {
    if (ready_) inflateEnd(&stream_);
  }
  Inflation(const Inflation&) = delete;
  Inflation& operator=(const Inflation&) = delete;

  // Returns whether exactly one whole gzip stream was there and fits.
  [[nodiscard]] bool Into(std::vector<Bytef>& out, std::size_t most) {
    out.resize(std::min(kFirstGuess, most));
    while (ready_) {
      stream_.next_out = out.data() + stream_.total_out;
      stream_.avail_out = static_cast<uInt>(out.size() - stream_.total_out);
      const int result = inflate(&stream_, Z_NO_FLUSH);
      if (result == Z_STREAM_END) break;
      if (result != Z_OK || stream_.avail_out > 0 || out.size() == most) return false;
      out.resize(std::min(out.size() * kGrowthFactor, most));
    }
    out.resize(stream_.total_out);
    return ready_ && stream_.avail_in == 0;
  }

 private:
  z_stream stream_{};
  bool ready_ = false;
};

}  // namespace

void AcceptPacked(grpc::ServerBuilder& builder) {
  builder.AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
}

bool IsPacked(const grpc::ByteBuffer& message) {
  grpc::Slice slice;
  if (!message.TrySingleSlice(&slice).ok() && !message.DumpToSingleSlice(&slice).ok()) return false;
  return slice.size() >= 2 && slice.begin()[0] == 0x1f && slice.begin()[1] == 0x8b;
}

void Unpack(grpc::ByteBuffer& message, std::size_t most) {
  if (!IsPacked(message)) return;
  grpc::Slice packed;
  if (!message.DumpToSingleSlice(&packed).ok()) return;
  std::vector<Bytef> bytes;
  if (!Inflation(packed).Into(bytes, most)) return;
  const grpc::Slice slice(bytes.data(), bytes.size());
  message = grpc::ByteBuffer(&slice, 1);
}

}  // namespace redlock::rpc
