#include "server/rpc/reflection_service.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <memory>
#include <set>
#include <utility>

#include "proto/grpc/reflection/v1/reflection.pb.h"
#include "server/rpc/message.h"

namespace redlock::rpc {
namespace {

using google::protobuf::DescriptorPool;
using google::protobuf::FileDescriptor;
using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;

// Adds the file and its dependencies.
void AddFile(const FileDescriptor& file, std::set<const FileDescriptor*>& added,
             ServerReflectionResponse& response) {
  if (!added.insert(&file).second) return;
  google::protobuf::FileDescriptorProto proto;
  file.CopyTo(&proto);
  response.mutable_file_descriptor_response()->add_file_descriptor_proto(proto.SerializeAsString());
  for (int i = 0; i < file.dependency_count(); ++i) AddFile(*file.dependency(i), added, response);
}

void Fail(ServerReflectionResponse& response, grpc::StatusCode code, const std::string& message) {
  response.mutable_error_response()->set_error_code(code);
  response.mutable_error_response()->set_error_message(message);
}

void Answer(const ServerReflectionRequest& request, const std::vector<std::string>& services,
            ServerReflectionResponse& response) {
  const DescriptorPool& pool = *DescriptorPool::generated_pool();
  const auto answer_file = [&response](const FileDescriptor* file, const std::string& name) {
    std::set<const FileDescriptor*> added;
    if (file != nullptr) {
      AddFile(*file, added, response);
    } else {
      Fail(response, grpc::StatusCode::NOT_FOUND, name + " not found");
    }
  };
  switch (request.message_request_case()) {
    case ServerReflectionRequest::kFileByFilename:
      answer_file(pool.FindFileByName(request.file_by_filename()), request.file_by_filename());
      return;
    case ServerReflectionRequest::kFileContainingSymbol:
      answer_file(pool.FindFileContainingSymbol(request.file_containing_symbol()),
                  request.file_containing_symbol());
      return;
    case ServerReflectionRequest::kListServices:
      for (const std::string& name : services) {
        response.mutable_list_services_response()->add_service()->set_name(name);
      }
      return;
    case ServerReflectionRequest::kAllExtensionNumbersOfType:
      // Messages have no extensions in proto3.
      response.mutable_all_extension_numbers_response()->set_base_type_name(
          request.all_extension_numbers_of_type());
      if (pool.FindMessageTypeByName(request.all_extension_numbers_of_type()) != nullptr) return;
      Fail(response, grpc::StatusCode::NOT_FOUND, "type not found");
      return;
    case ServerReflectionRequest::kFileContainingExtension:
      Fail(response, grpc::StatusCode::NOT_FOUND, "proto3 files have no extensions");
      return;
    case ServerReflectionRequest::MESSAGE_REQUEST_NOT_SET:
      Fail(response, grpc::StatusCode::INVALID_ARGUMENT, "the request is empty");
      return;
  }
}

class ReflectionCall final : public StreamCall {
 public:
  ReflectionCall(std::unique_ptr<AcceptedCall> accepted, const std::vector<std::string>& services,
                 OpenQuota& quota)
      : StreamCall(std::move(accepted)), services_(services), place_(quota, context().peer()) {}

 private:
  void Begin() override {
    if (place_.taken()) {
      StartRead();
    } else {
      Finish({grpc::StatusCode::RESOURCE_EXHAUSTED, "too many streams without credentials"});
    }
  }

  void OnRead(const grpc::ByteBuffer& message) override {
    ServerReflectionRequest request;
    ServerReflectionResponse response;
    if (!Parse(message, request)) {
      finished_ = true;
      Finish({grpc::StatusCode::INVALID_ARGUMENT, "the request is not a valid message"});
      return;
    }
    response.set_valid_host(request.host());
    *response.mutable_original_request() = request;
    Answer(request, services_, response);
    StartWrite(Serialize(response));
  }
  void OnWritten(bool ok) override {
    if (ok) {
      StartRead();
    } else {
      OnReadsEnded();
    }
  }
  void OnReadsEnded() override {
    if (!std::exchange(finished_, true)) Finish(grpc::Status::OK);
  }

  const std::vector<std::string>& services_;
  const OpenQuota::Place place_;
  bool finished_ = false;
};

}  // namespace

void AddReflection(Routes& routes, std::vector<std::string> services, OpenQuota& quota) {
  const auto shared = std::make_shared<const std::vector<std::string>>(std::move(services));
  for (const char* version : {"v1", "v1alpha"}) {
    // Both versions have the same messages.
    routes["/grpc.reflection." + std::string(version) + ".ServerReflection/ServerReflectionInfo"] =
        [shared, &quota](std::unique_ptr<AcceptedCall> accepted) {
          return std::make_shared<ReflectionCall>(std::move(accepted), *shared, quota);
        };
  }
}

}  // namespace redlock::rpc
