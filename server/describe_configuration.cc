#include "server/describe_configuration.h"

#include <gnu/libc-version.h>
#include <google/protobuf/stubs/common.h>
#include <grpcpp/grpcpp.h>
#include <hiredis/hiredis.h>
#include <openssl/crypto.h>
#include <sys/utsname.h>
#include <uv.h>

#include <string>

namespace redlock {
namespace {

std::string Kernel() {
  utsname names{};
  if (uname(&names) != 0) return "unknown";
  return std::string(names.sysname) + " " + names.release + " " + names.machine;
}

std::string HiredisVersion() {
  return std::to_string(HIREDIS_MAJOR) + "." + std::to_string(HIREDIS_MINOR) + "." +
         std::to_string(HIREDIS_PATCH);
}

}  // namespace

v1::GetConfigurationResponse DescribeConfiguration(
    const std::vector<config::EffectiveSetting>& settings) {
  v1::GetConfigurationResponse response;
  auto& versions = *response.mutable_versions();
  versions["redlockd"] = REDLOCKD_VERSION;
  versions["grpc"] = grpc::Version();
  versions["protobuf"] = google::protobuf::internal::VersionString(GOOGLE_PROTOBUF_VERSION);
  versions["hiredis"] = HiredisVersion();
  versions["libuv"] = uv_version_string();
  versions["openssl"] = OpenSSL_version(OPENSSL_VERSION);
  versions["libc"] = gnu_get_libc_version();
  versions["kernel"] = Kernel();
  for (const config::EffectiveSetting& setting : settings) {
    v1::Setting& added = *response.add_settings();
    added.set_group(setting.group);
    added.set_name(setting.name);
    added.set_value(setting.value);
    added.set_source(setting.source);
  }
  return response;
}

}  // namespace redlock
