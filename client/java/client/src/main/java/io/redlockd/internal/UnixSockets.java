package io.redlockd.internal;

import io.grpc.InsecureChannelCredentials;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.netty.channel.ChannelOption;
import io.grpc.netty.shaded.io.netty.channel.EventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.MultiThreadIoEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.epoll.Epoll;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollChannelOption;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollDomainSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollIoHandler;
import io.grpc.netty.shaded.io.netty.channel.unix.DomainSocketAddress;
import io.grpc.netty.shaded.io.netty.util.concurrent.DefaultThreadFactory;
import java.util.concurrent.TimeUnit;

/** Connects to Unix sockets, which gRPC supports on Linux only. Not thread-safe. */
public final class UnixSockets {
  private static final String PREFIX = "unix:";

  private EventLoopGroup loops;

  /** Whether the endpoint is a Unix socket. */
  public static boolean isUnix(String endpoint) {
    return endpoint.startsWith(PREFIX);
  }

  /** Throws LockArgumentException if Unix sockets cannot be used here. */
  public static void requireSupport() {
    if (!Epoll.isAvailable()) {
      throw Errors.invalid("endpoints: Unix sockets need Linux on x86-64 or AArch64; use \"host:port\" ("
          + Epoll.unavailabilityCause() + ")");
    }
  }

  static String path(String endpoint) {
    String path = endpoint.substring(PREFIX.length());
    return path.startsWith("//") ? path.substring(2) : path;
  }

  /** Returns the builder of a channel. On Unix sockets, the daemon uses no TLS. */
  public NettyChannelBuilder builder(String endpoint) {
    if (loops == null) {
      loops = new MultiThreadIoEventLoopGroup(
          1, new DefaultThreadFactory("redlockd-unix", true), EpollIoHandler.newFactory());
    }
    return NettyChannelBuilder.forAddress(
            new DomainSocketAddress(path(endpoint)), InsecureChannelCredentials.create())
        .eventLoopGroup(loops)
        .channelType(EpollDomainSocketChannel.class, DomainSocketAddress.class)
        // gRPC sets these options, and netty would warn that the socket does not have them.
        .withOption(ChannelOption.SO_KEEPALIVE, null)
        .withOption(EpollChannelOption.TCP_USER_TIMEOUT, null)
        .overrideAuthority("localhost");
  }

  /** Ends the threads. The channels must have been shut down. */
  public void close() {
    if (loops != null) {
      loops.shutdownGracefully(100, 2_000, TimeUnit.MILLISECONDS);
    }
  }
}
