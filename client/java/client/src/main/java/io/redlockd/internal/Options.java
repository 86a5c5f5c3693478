package io.redlockd.internal;

import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.Executor;
import java.util.function.Supplier;

/**
 * The options of a client, checked by the builder.
 *
 * @param endpoints the addresses of the daemons
 * @param owner the default label
 * @param grace the Session's disconnect_grace in nanoseconds
 * @param connectTimeout how long connecting to an address may take, in nanoseconds
 * @param callTimeout how long a unary call may take over all endpoints, in nanoseconds
 * @param tls whether to use TLS
 * @param trust PEM file with the CAs to trust; null: those of the platform
 * @param certificate PEM file with the client's certificate; null: none
 * @param privateKey PEM file with its key
 * @param bearer the bearer token; null: none
 * @param executor runs callbacks and completes futures; null: a pool of the client's own
 */
public record Options(
    List<String> endpoints,
    String owner,
    long grace,
    long connectTimeout,
    long callTimeout,
    boolean tls,
    Path trust,
    Path certificate,
    Path privateKey,
    Supplier<String> bearer,
    Executor executor) {}
