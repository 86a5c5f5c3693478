/**
 * The client's state machine, which implements client/PROTOCOL.md: no gRPC, no threads and no clock of its own. Not part of
 * the API.
 */
package io.redlockd.internal.core;
