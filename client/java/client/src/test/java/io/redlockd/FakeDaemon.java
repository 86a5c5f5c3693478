package io.redlockd;

import com.google.protobuf.Any;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Server;
import io.grpc.ServerServiceDefinition;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.ServerCalls;
import io.grpc.stub.StreamObserver;
import io.redlockd.internal.Methods;
import io.redlockd.internal.core.Times;
import io.redlockd.redlock.v1.AcquireRequest;
import io.redlockd.redlock.v1.AcquireResponse;
import io.redlockd.redlock.v1.HolderState;
import io.redlockd.redlock.v1.ExtendRequest;
import io.redlockd.redlock.v1.ObserveRequest;
import io.redlockd.redlock.v1.ObserveResponse;
import io.redlockd.redlock.v1.ProclaimRequest;
import io.redlockd.redlock.v1.ProclaimResponse;
import io.redlockd.redlock.v1.ReleaseRequest;
import io.redlockd.redlock.v1.ReleaseResponse;
import io.redlockd.redlock.v1.SessionOperation;
import io.redlockd.redlock.v1.SessionRequest;
import io.redlockd.redlock.v1.SessionResponse;
import io.redlockd.redlock.v1.SessionResult;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.Queue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;

/**
 * A daemon that grants every lock, and whose other answers the test decides. It records what it receives.
 *
 * <p>The error of a call comes from {@link #errors}; without one, the call succeeds.
 */
final class FakeDaemon implements AutoCloseable {
  static final Duration PATIENCE = Duration.ofSeconds(20);

  /** One stream of an observer. */
  static final class Observed {
    final ObserveRequest request;
    final CompletableFuture<Void> cancelled = new CompletableFuture<>();
    private final ServerCallStreamObserver<ObserveResponse> stream;

    Observed(ObserveRequest request, ServerCallStreamObserver<ObserveResponse> stream) {
      this.request = request;
      this.stream = stream;
      stream.setOnCancelHandler(() -> cancelled.complete(null));
    }

    void held(long fence, String value, Duration remaining) {
      stream.onNext(ObserveResponse.newBuilder()
          .setState(HolderState.HOLDER_STATE_HELD)
          .setHolders(1)
          .setFencingToken(fence)
          .setValue(value)
          .setRemaining(Times.proto(remaining.toNanos()))
          .build());
    }

    void held(long fence) {
      held(fence, "", Duration.ofMinutes(1));
    }

    void vacant() {
      stream.onNext(ObserveResponse.newBuilder().setState(HolderState.HOLDER_STATE_VACANT).build());
    }

    void undecided(String why) {
      stream.onNext(
          ObserveResponse.newBuilder().setState(HolderState.HOLDER_STATE_UNDECIDED).setMessage(why).build());
    }

    void fail(StatusRuntimeException error) {
      stream.onError(error);
    }

    void complete() {
      stream.onCompleted();
    }
  }

  final BlockingQueue<Observed> observers = new LinkedBlockingQueue<>();
  final BlockingQueue<ProclaimRequest> proclaims = new LinkedBlockingQueue<>();
  final BlockingQueue<ReleaseRequest> releases = new LinkedBlockingQueue<>(); // also those of the Session
  final BlockingQueue<AcquireRequest> acquires = new LinkedBlockingQueue<>(); // also those of the Session
  final BlockingQueue<ExtendRequest> extendsInSession = new LinkedBlockingQueue<>(); // those that are answered
  final Queue<StatusRuntimeException> errors = new ConcurrentLinkedQueue<>(); // of the next calls that are not those of the Session
  volatile Supplier<StatusRuntimeException> always = () -> null; // the error if there is none in `errors`
  volatile boolean silent; // unary calls are not answered
  volatile boolean losing; // the Session finds no lock
  volatile boolean ignoresExtends; // those of the Session
  volatile boolean refusesToKeep; // the Session releases nothing that is to be kept
  private final Server server;
  private long fence = 100;

  FakeDaemon() throws IOException {
    server = NettyServerBuilder.forAddress(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0))
        .addService(ServerServiceDefinition.builder("redlock.v1.LockService")
            .addMethod(Methods.SESSION, ServerCalls.asyncBidiStreamingCall(this::session))
            .addMethod(Methods.OBSERVE, ServerCalls.asyncServerStreamingCall(this::observe))
            .addMethod(
                Methods.PROCLAIM,
                ServerCalls.asyncUnaryCall((request, answer) ->
                    unary(proclaims, request, ProclaimResponse.getDefaultInstance(), answer)))
            .addMethod(
                Methods.RELEASE,
                ServerCalls.asyncUnaryCall((request, answer) ->
                    unary(releases, request, ReleaseResponse.getDefaultInstance(), answer)))
            .addMethod(Methods.ACQUIRE, ServerCalls.asyncUnaryCall(this::acquire))
            .build())
        .build()
        .start();
  }

  String endpoint() {
    return "127.0.0.1:" + server.getPort();
  }

  RedlockClient.Builder client(FakeDaemon... others) {
    String[] endpoints = new String[others.length + 1];
    endpoints[0] = endpoint();
    for (int i = 0; i < others.length; ++i) {
      endpoints[i + 1] = others[i].endpoint();
    }
    return RedlockClient.builder().endpoints(endpoints);
  }

  @Override
  public void close() {
    try {
      server.shutdownNow().awaitTermination(PATIENCE.toSeconds(), TimeUnit.SECONDS);
    } catch (InterruptedException interrupted) {
      throw new AssertionError(interrupted);
    }
  }

  /** Takes the next one, which must come. */
  static <T> T next(BlockingQueue<T> queue) throws InterruptedException {
    T next = queue.poll(PATIENCE.toSeconds(), TimeUnit.SECONDS);
    if (next == null) {
      throw new AssertionError("nothing came within " + PATIENCE.toSeconds() + " s");
    }
    return next;
  }

  /** The error of a daemon that has decided. */
  static StatusRuntimeException decided(Status.Code code, String reason, String message) {
    return StatusProto.toStatusRuntimeException(com.google.rpc.Status.newBuilder()
        .setCode(code.value())
        .setMessage(message)
        .addDetails(Any.pack(ErrorInfo.newBuilder().setDomain("redlock.v1").setReason(reason).build()))
        .build());
  }

  /** The error of a daemon that refuses a call for now. */
  static StatusRuntimeException overloaded(Duration retryAfter) {
    return StatusProto.toStatusRuntimeException(com.google.rpc.Status.newBuilder()
        .setCode(Status.Code.RESOURCE_EXHAUSTED.value())
        .setMessage("too many waiters")
        .addDetails(Any.pack(ErrorInfo.newBuilder().setDomain("redlock.v1").setReason("OVERLOADED").build()))
        .addDetails(Any.pack(RetryInfo.newBuilder().setRetryDelay(Times.proto(retryAfter.toNanos())).build()))
        .build());
  }

  private StatusRuntimeException error() {
    StatusRuntimeException error = errors.poll();
    return error == null ? always.get() : error;
  }

  private void observe(ObserveRequest request, StreamObserver<ObserveResponse> stream) {
    StatusRuntimeException error = error();
    if (error != null) {
      stream.onError(error);
    } else {
      observers.add(new Observed(request, (ServerCallStreamObserver<ObserveResponse>) stream));
    }
  }

  private <Q, R> void unary(BlockingQueue<Q> received, Q request, R response, StreamObserver<R> answer) {
    StatusRuntimeException error = error();
    boolean ignored = silent; // before the test goes on
    received.add(request);
    if (ignored) {
      return;
    }
    if (error != null) {
      answer.onError(error);
    } else {
      answer.onNext(response);
      answer.onCompleted();
    }
  }

  private void acquire(AcquireRequest request, StreamObserver<AcquireResponse> answer) {
    unary(acquires, request, AcquireResponse.newBuilder().setLease(lease(request)).build(), answer);
  }

  private synchronized io.redlockd.redlock.v1.Lease lease(AcquireRequest request) {
    return io.redlockd.redlock.v1.Lease.newBuilder()
        .setKey(request.getKey())
        .setToken(request.getToken())
        .setFencingToken(++fence)
        .setValidity(request.getTtl())
        .build();
  }

  private StreamObserver<SessionRequest> session(StreamObserver<SessionResponse> answer) {
    return new StreamObserver<>() {
      @Override
      public void onNext(SessionRequest request) {
        SessionResponse.Builder response = SessionResponse.newBuilder().setClock(Times.proto(System.nanoTime()));
        request.getOperationsList().stream()
            .filter(operation -> !ignoresExtends || !operation.hasExtend())
            .forEach(operation -> response.addResults(carryOut(operation)));
        answer.onNext(response.build());
      }

      @Override
      public void onError(Throwable cancelled) {}

      @Override
      public void onCompleted() {
        answer.onCompleted();
      }
    };
  }

  private SessionResult carryOut(SessionOperation operation) {
    SessionResult.Builder result = SessionResult.newBuilder().setId(operation.getId());
    if (operation.hasAcquire()) {
      acquires.add(operation.getAcquire());
      result.setLease(lease(operation.getAcquire()));
    } else if (operation.hasRelease()) {
      releases.add(operation.getRelease());
      if (refusesToKeep && operation.getRelease().hasKeepFor()) {
        result.getStatusBuilder().setReason("INVALID_ARGUMENT").setMessage("keep_for: too long");
      }
    } else if (operation.hasExtend()) {
      extendsInSession.add(operation.getExtend());
      if (losing) {
        result.getStatusBuilder().setReason("LOCK_NOT_HELD").setMessage("the token does not hold the key");
      } else {
        result.getLeaseBuilder().setToken(operation.getExtend().getToken()).setValidity(operation.getExtend().getTtl());
      }
    }
    return result.build();
  }
}
