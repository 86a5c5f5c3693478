package io.redlockd.internal;

import io.grpc.ChannelCredentials;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.TlsChannelCredentials;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.netty.channel.ChannelOption;
import io.redlockd.internal.core.Times;
import java.io.IOException;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;

/**
 * One connection to each daemon, made when it is needed. A connection that failed is dropped, so that no Session or call inherits
 * one that hangs or that waits before it reconnects. Thread-safe.
 */
final class Endpoints {
  // gRPC sends a keepalive ping on a connection with calls that is silent for this long, which is its minimum. Sessions have pings
  // of their own.
  private static final long KEEPALIVE_SECONDS = 10;
  private static final long KEEPALIVE_TIMEOUT_SECONDS = 2;

  private final List<String> endpoints;
  private final ChannelCredentials credentials;
  private final int connectMillis;
  private final UnixSockets unix = new UnixSockets();
  private final ReentrantLock lock = new ReentrantLock();
  private final ManagedChannel[] channels;
  private boolean closed;

  Endpoints(Options options) {
    this.endpoints = options.endpoints();
    this.connectMillis = (int) Math.min(Integer.MAX_VALUE, options.connectTimeout() / Times.MILLIS);
    this.channels = new ManagedChannel[endpoints.size()];
    try {
      this.credentials = credentials(options);
    } catch (IOException | RuntimeException unusable) {
      throw Errors.invalid("TLS: " + unusable.getMessage());
    }
    if (endpoints.stream().anyMatch(UnixSockets::isUnix)) {
      UnixSockets.requireSupport();
    }
    for (int i = 0; i < channels.length; ++i) { // an address that gRPC does not understand fails here
      channels[i] = connect(i);
    }
  }

  private static ChannelCredentials credentials(Options options) throws IOException {
    if (!options.tls()) {
      return InsecureChannelCredentials.create();
    }
    TlsChannelCredentials.Builder tls = TlsChannelCredentials.newBuilder();
    if (options.trust() != null) {
      tls.trustManager(options.trust().toFile());
    }
    if (options.certificate() != null) {
      tls.keyManager(options.certificate().toFile(), options.privateKey().toFile());
    }
    return tls.build();
  }

  int size() {
    return endpoints.size();
  }

  String name(int endpoint) {
    return endpoints.get(endpoint);
  }

  ManagedChannel channel(int endpoint) {
    lock.lock();
    try {
      if (channels[endpoint] == null && !closed) {
        channels[endpoint] = connect(endpoint);
      }
      return channels[endpoint];
    } finally {
      lock.unlock();
    }
  }

  /** The channel failed, or may hang. Its calls continue until they end. */
  void drop(int endpoint, ManagedChannel failed) {
    lock.lock();
    try {
      if (channels[endpoint] == failed) {
        channels[endpoint] = null;
      }
    } finally {
      lock.unlock();
    }
    if (failed != null) {
      failed.shutdown();
    }
  }

  void close() {
    lock.lock();
    try {
      closed = true;
    } finally {
      lock.unlock();
    }
    for (int i = 0; i < channels.length; ++i) {
      drop(i, channels[i]);
    }
    unix.close();
  }

  private ManagedChannel connect(int endpoint) {
    String address = endpoints.get(endpoint);
    NettyChannelBuilder builder;
    try {
      builder = UnixSockets.isUnix(address)
          ? unix.builder(address)
          : NettyChannelBuilder.forTarget(target(address), credentials)
              .withOption(ChannelOption.CONNECT_TIMEOUT_MILLIS, connectMillis);
      return builder
          .directExecutor()
          .disableRetry()
          .proxyDetector(unused -> null) // a proxy in the environment is for websites
          .userAgent("redlockd-java")
          .keepAliveTime(KEEPALIVE_SECONDS, TimeUnit.SECONDS)
          .keepAliveTimeout(KEEPALIVE_TIMEOUT_SECONDS, TimeUnit.SECONDS)
          .build();
    } catch (IllegalArgumentException unusable) {
      throw Errors.invalid("endpoints: " + address + ": " + unusable.getMessage());
    }
  }

  private static String target(String address) {
    return address.startsWith("dns:") ? address : "dns:///" + address;
  }
}
