/** The driver of the client's state machine over gRPC. Not part of the API. */
package io.redlockd.internal;
