package load;

import com.google.common.util.concurrent.FutureCallback;
import com.google.common.util.concurrent.Futures;
import com.google.common.util.concurrent.ListenableFuture;
import com.google.common.util.concurrent.MoreExecutors;
import com.google.protobuf.Message;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.MethodDescriptor;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.stub.ClientCalls;
import io.redlockd.redlock.v1.AcquireRequest;
import io.redlockd.redlock.v1.AcquireResponse;
import io.redlockd.redlock.v1.ReleaseRequest;
import io.redlockd.redlock.v1.ReleaseResponse;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;

/**
 * The two unary calls over one connection, as a program without a client library makes them: what generated stubs do.
 * The caller sets the token, as anybody must who repeats calls.
 */
final class StubsSubject implements Subject {
  private static final MethodDescriptor<AcquireRequest, AcquireResponse> ACQUIRE =
      method("Acquire", AcquireRequest.getDefaultInstance(), AcquireResponse.getDefaultInstance());
  private static final MethodDescriptor<ReleaseRequest, ReleaseResponse> RELEASE =
      method("Release", ReleaseRequest.getDefaultInstance(), ReleaseResponse.getDefaultInstance());

  private final Channel channel;

  StubsSubject(String daemon) {
    channel = NettyChannelBuilder.forTarget(daemon).usePlaintext().build();
  }

  private static <Q extends Message, R extends Message> MethodDescriptor<Q, R> method(
      String name, Q request, R response) {
    return MethodDescriptor.<Q, R>newBuilder().setType(MethodDescriptor.MethodType.UNARY)
        .setFullMethodName("redlock.v1.LockService/" + name)
        .setRequestMarshaller(ProtoUtils.marshaller(request)).setResponseMarshaller(ProtoUtils.marshaller(response))
        .build();
  }

  private <Q, R> R call(MethodDescriptor<Q, R> method, Q request) {
    return ClientCalls.blockingUnaryCall(channel, method, CallOptions.DEFAULT, request);
  }

  private <Q, R> CompletionStage<R> callAsync(MethodDescriptor<Q, R> method, Q request) {
    return stage(ClientCalls.futureUnaryCall(channel.newCall(method, CallOptions.DEFAULT), request));
  }

  private static AcquireRequest request(String key) {
    return AcquireRequest.newBuilder().setKey(key).setToken(UUID.randomUUID().toString())
        .setTtl(com.google.protobuf.Duration.newBuilder().setSeconds(TTL.toSeconds())).build();
  }

  @Override
  public Held acquire(Wanted wanted) {
    AcquireRequest request = request(wanted.key());
    call(ACQUIRE, request);
    return new StubsHeld(this, request);
  }

  @Override
  public CompletionStage<Held> acquireAsync(Wanted wanted) {
    AcquireRequest request = request(wanted.key());
    return callAsync(ACQUIRE, request).thenApply(response -> new StubsHeld(this, request));
  }

  private record StubsHeld(StubsSubject stubs, AcquireRequest request) implements Held {
    private ReleaseRequest releaseRequest() {
      return ReleaseRequest.newBuilder().setKey(request.getKey()).setToken(request.getToken()).build();
    }

    @Override
    public void release() {
      stubs.call(RELEASE, releaseRequest());
    }

    @Override
    public CompletionStage<Void> releaseAsync() {
      return stubs.callAsync(RELEASE, releaseRequest()).thenApply(response -> null);
    }
  }

  private static <T> CompletionStage<T> stage(ListenableFuture<T> future) {
    CompletableFuture<T> stage = new CompletableFuture<>();
    Futures.addCallback(future, new FutureCallback<T>() {
      @Override
      public void onSuccess(T result) {
        stage.complete(result);
      }

      @Override
      public void onFailure(Throwable error) {
        stage.completeExceptionally(error);
      }
    }, MoreExecutors.directExecutor());
    return stage;
  }
}
