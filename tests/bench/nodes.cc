#include "tests/bench/nodes.h"

#include "tests/support/daemon.h"

namespace redlock::bench {
namespace {

double Number(const std::string& info, const std::string& name) {
  const std::string line = "\n" + name + ":";
  const std::size_t at = info.find(line);
  return at == std::string::npos ? 0 : std::stod(info.substr(at + line.size()));
}

}  // namespace

Nodes::Nodes(std::size_t count) : servers_(testing::StartNodes(count)) {}

std::vector<std::uint16_t> Nodes::ports() const {
  std::vector<std::uint16_t> ports;
  for (const auto& server : servers_) ports.push_back(server->port());
  return ports;
}

NodeCounts Nodes::Count() const {
  NodeCounts sum;
  for (const auto& server : servers_) {
    const std::string info = server->Cli("INFO everything");
    sum.commands += Number(info, "total_commands_processed") - 1;  // without this INFO itself
    sum.cpu_us += (Number(info, "used_cpu_user") + Number(info, "used_cpu_sys")) * 1e6;
    sum.bytes += Number(info, "total_net_input_bytes") + Number(info, "total_net_output_bytes");
    sum.calls += Number(info, "total_reads_processed") + Number(info, "total_writes_processed");
  }
  return sum;
}

}  // namespace redlock::bench
