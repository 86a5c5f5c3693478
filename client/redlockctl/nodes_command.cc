#include "client/redlockctl/nodes_command.h"

#include "client/redlockctl/node_set_change.h"

namespace redlockctl {
namespace {

namespace v1 = redlock::v1;

// Whether the failure leaves open what becomes of the change. Other failures are the daemon's
// answer.
bool IsLoss(grpc::StatusCode code) {
  using enum grpc::StatusCode;
  return code == CANCELLED || code == UNKNOWN || code == DEADLINE_EXCEEDED || code == INTERNAL ||
         code == UNAVAILABLE;
}

Failure ExplainFailure(const grpc::Status& status, const Daemon& daemon,
                       const ChangeProgress& progress) {
  Failure failure = daemon.Explain(status);
  if (!progress.HasResponse() || !IsLoss(status.error_code())) return failure;
  if (failure.reason.empty()) {
    failure.message = "the connection to redlockd at " + daemon.server() + " broke (" +
                      status.error_message() + ")";
  }
  failure.message += "; " + progress.Outlook();
  return failure;
}

}  // namespace

ExitStatus ChangeNodeSet(Daemon& daemon, const v1::ChangeNodeSetRequest& request,
                         std::optional<Millis> timeout, const Printer& printer) {
  ChangeProgress progress(request);
  grpc::ClientContext context;
  CancelOnSignal cancel(context);
  const auto responses =
      daemon.Open(context, &v1::AdminService::Stub::ChangeNodeSet, request, timeout);
  v1::ChangeNodeSetResponse response;
  while (responses->Read(&response)) printer.Print(response, progress.Next(response));
  const grpc::Status status = responses->Finish();
  const bool interrupted = cancel.Stop();
  if (status.ok() && progress.HasResponse()) {
    printer.PrintText(progress.Done());
    return kExitOk;
  }
  if (interrupted && status.error_code() == grpc::StatusCode::CANCELLED) {
    printer.PrintNotice("interrupted; " + progress.Outlook());
    return kExitFailed;
  }
  const Failure failure = status.ok()
                              ? Failure{.message = "the daemon ended the call without a response"}
                              : ExplainFailure(status, daemon, progress);
  printer.Print(failure);
  return failure.exit_status;
}

}  // namespace redlockctl
