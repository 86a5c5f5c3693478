package io.redlockd.internal;

import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.redlockd.internal.core.Failure;
import io.redlockd.redlock.v1.SessionRequest;
import io.redlockd.redlock.v1.SessionResponse;

/** The stream of one Session. Used under the driver's lock, except for the listener. */
final class Stream extends ClientCall.Listener<SessionResponse> {
  private final Driver driver;
  private final long session;
  private final int endpoint;
  private final ManagedChannel channel;
  private final ClientCall<SessionRequest, SessionResponse> call;
  private boolean writing;

  Stream(Driver driver, long session, int endpoint, CallOptions options) {
    this.driver = driver;
    this.session = session;
    this.endpoint = endpoint;
    this.channel = driver.endpoints.channel(endpoint);
    // With this threshold, the call is ready exactly when all messages have been handed to the operating system.
    this.call = channel.newCall(Methods.SESSION, options.withOnReadyThreshold(1));
  }

  void start() {
    call.start(this, new Metadata());
    call.request(1);
  }

  void write(SessionRequest message) {
    call.sendMessage(message);
    writing = true;
  }

  /** Whether the message that was being written has been written since the last call. */
  boolean takeWritten() {
    boolean written = writing && call.isReady();
    if (written) {
      writing = false;
    }
    return written;
  }

  /** Cancels the stream, and closes its connection: the next Session has its own. */
  void cancel() {
    call.cancel("the client abandoned the Session", null);
    driver.endpoints.drop(endpoint, channel);
  }

  @Override
  public void onMessage(SessionResponse message) {
    driver.act(machine -> machine.onMessage(session, message));
    call.request(1);
  }

  @Override
  public void onReady() {
    driver.act(Driver.NOTHING);
  }

  @Override
  public void onClose(Status status, Metadata trailers) {
    Failure why = Errors.ofStream(driver.endpoints.name(endpoint), status);
    driver.act(machine -> machine.onEnded(session, why));
  }

}
