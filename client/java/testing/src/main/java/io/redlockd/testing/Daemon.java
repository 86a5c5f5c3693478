package io.redlockd.testing;

import io.grpc.CallOptions;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCalls;
import io.redlockd.internal.Methods;
import io.redlockd.internal.UnixSockets;
import io.redlockd.redlock.v1.ForceReleaseRequest;
import io.redlockd.redlock.v1.ForceReleaseResponse;
import io.redlockd.redlock.v1.ListNodesRequest;
import io.redlockd.redlock.v1.ListNodesResponse;
import io.redlockd.redlock.v1.Node;
import io.redlockd.redlock.v1.NodeState;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** A process of redlockd that listens on a Unix socket. */
final class Daemon {
  private static final MethodDescriptor<ListNodesRequest, ListNodesResponse> LIST_NODES = Methods.unary(
      "AdminService/ListNodes", ListNodesRequest.getDefaultInstance(), ListNodesResponse.getDefaultInstance());
  private static final MethodDescriptor<ForceReleaseRequest, ForceReleaseResponse> FORCE_RELEASE = Methods.unary(
      "AdminService/ForceRelease",
      ForceReleaseRequest.getDefaultInstance(),
      ForceReleaseResponse.getDefaultInstance());
  private static final long START_SECONDS = 30;
  private static final long END_SECONDS = 10;
  private static final long CALL_SECONDS = 10;
  private static final long POLL_MILLIS = 10;

  private final Path socket;
  private final Path log;
  private final List<String> command = new ArrayList<>();
  private Process process;

  Daemon(Path binary, Path socket, List<String> options) {
    this.socket = socket;
    this.log = socket.resolveSibling(socket.getFileName() + ".log");
    command.addAll(List.of(binary.toString(), "--listen", "unix:" + socket, "--log-level", "error"));
    command.addAll(options);
  }

  Path socket() {
    return socket;
  }

  /** Returns once the daemon serves and all its nodes are up. */
  synchronized void start() throws IOException, InterruptedException {
    process = new ProcessBuilder(command)
        .redirectErrorStream(true)
        .redirectOutput(ProcessBuilder.Redirect.appendTo(log.toFile()))
        .start();
    long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(START_SECONDS);
    while (!serves()) {
      if (!process.isAlive() || System.nanoTime() > until) {
        String text = Files.readString(log);
        end();
        throw new IOException("redlockd does not serve: " + String.join(" ", command) + "\n" + text);
      }
      Thread.sleep(POLL_MILLIS);
    }
  }

  private boolean serves() {
    try {
      List<Node> nodes = listNodes();
      return !nodes.isEmpty() && nodes.stream().allMatch(node -> node.getState() == NodeState.NODE_STATE_UP);
    } catch (StatusRuntimeException notYet) {
      return false;
    }
  }

  /** The addresses of the nodes, which listen on Unix sockets, as arguments of --node. */
  List<String> nodes() {
    return listNodes().stream().map(node -> node.getName().replaceFirst("^unix:(?!//)", "unix://")).toList();
  }

  private List<Node> listNodes() {
    return call(LIST_NODES, ListNodesRequest.getDefaultInstance()).getNodesList();
  }

  /** Returns whether a client held the lock. */
  boolean forceRelease(String key, String why) {
    return call(FORCE_RELEASE, ForceReleaseRequest.newBuilder().setKey(key).setWhy(why).build()).getReleased();
  }

  private <Q, R> R call(MethodDescriptor<Q, R> method, Q request) {
    UnixSockets.requireSupport();
    UnixSockets sockets = new UnixSockets();
    ManagedChannel channel = sockets.builder("unix:" + socket).build();
    try {
      CallOptions options = CallOptions.DEFAULT.withDeadlineAfter(CALL_SECONDS, TimeUnit.SECONDS);
      return ClientCalls.blockingUnaryCall(channel, method, options, request);
    } finally {
      channel.shutdownNow();
      sockets.close();
    }
  }

  synchronized void restart(boolean kill) throws IOException, InterruptedException {
    if (kill) {
      process.destroyForcibly();
    } else {
      process.destroy();
    }
    if (!process.waitFor(START_SECONDS, TimeUnit.SECONDS)) {
      throw new IOException("redlockd does not end: " + String.join(" ", command));
    }
    start();
  }

  /** Ends the process. */
  synchronized void end() {
    if (process == null) {
      return;
    }
    process.destroy();
    boolean interrupted = false;
    try {
      if (!process.waitFor(END_SECONDS, TimeUnit.SECONDS)) {
        process.destroyForcibly();
      }
    } catch (InterruptedException again) {
      process.destroyForcibly();
      interrupted = true;
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }
}
