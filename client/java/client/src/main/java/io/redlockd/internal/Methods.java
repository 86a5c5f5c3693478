package io.redlockd.internal;

import com.google.protobuf.Message;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.protobuf.ProtoUtils;
import io.redlockd.redlock.v1.AcquireRequest;
import io.redlockd.redlock.v1.AcquireResponse;
import io.redlockd.redlock.v1.ExtendRequest;
import io.redlockd.redlock.v1.ExtendResponse;
import io.redlockd.redlock.v1.ObserveRequest;
import io.redlockd.redlock.v1.ObserveResponse;
import io.redlockd.redlock.v1.ProclaimRequest;
import io.redlockd.redlock.v1.ProclaimResponse;
import io.redlockd.redlock.v1.ReleaseRequest;
import io.redlockd.redlock.v1.ReleaseResponse;
import io.redlockd.redlock.v1.SessionRequest;
import io.redlockd.redlock.v1.SessionResponse;
import io.redlockd.redlock.v1.WatchRequest;
import io.redlockd.redlock.v1.WatchResponse;

/** The methods of the gRPC API that the client calls. */
public final class Methods {
  /** LockService.Acquire. */
  public static final MethodDescriptor<AcquireRequest, AcquireResponse> ACQUIRE = unary(
      "LockService/Acquire", AcquireRequest.getDefaultInstance(), AcquireResponse.getDefaultInstance());

  /** LockService.Extend. */
  public static final MethodDescriptor<ExtendRequest, ExtendResponse> EXTEND =
      unary("LockService/Extend", ExtendRequest.getDefaultInstance(), ExtendResponse.getDefaultInstance());

  /** LockService.Release. */
  public static final MethodDescriptor<ReleaseRequest, ReleaseResponse> RELEASE = unary(
      "LockService/Release", ReleaseRequest.getDefaultInstance(), ReleaseResponse.getDefaultInstance());

  /** LockService.Proclaim. */
  public static final MethodDescriptor<ProclaimRequest, ProclaimResponse> PROCLAIM = unary(
      "LockService/Proclaim", ProclaimRequest.getDefaultInstance(), ProclaimResponse.getDefaultInstance());

  /** LockService.Observe. */
  public static final MethodDescriptor<ObserveRequest, ObserveResponse> OBSERVE = method(
      MethodType.SERVER_STREAMING,
      "LockService/Observe",
      ObserveRequest.getDefaultInstance(),
      ObserveResponse.getDefaultInstance());

  /** LockService.Watch. */
  public static final MethodDescriptor<WatchRequest, WatchResponse> WATCH = method(
      MethodType.SERVER_STREAMING,
      "LockService/Watch",
      WatchRequest.getDefaultInstance(),
      WatchResponse.getDefaultInstance());

  /** LockService.Session. */
  public static final MethodDescriptor<SessionRequest, SessionResponse> SESSION = method(
      MethodType.BIDI_STREAMING,
      "LockService/Session",
      SessionRequest.getDefaultInstance(),
      SessionResponse.getDefaultInstance());

  private Methods() {}

  /** Describes a unary method of the package redlock.v1. */
  public static <Q extends Message, R extends Message> MethodDescriptor<Q, R> unary(
      String name, Q request, R response) {
    return method(MethodType.UNARY, name, request, response);
  }

  private static <Q extends Message, R extends Message> MethodDescriptor<Q, R> method(
      MethodType type, String name, Q request, R response) {
    return MethodDescriptor.<Q, R>newBuilder()
        .setType(type)
        .setFullMethodName("redlock.v1." + name)
        .setRequestMarshaller(ProtoUtils.marshaller(request))
        .setResponseMarshaller(ProtoUtils.marshaller(response))
        .build();
  }
}
