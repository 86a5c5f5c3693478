/**
 * A test kit: real daemons, so that a test can find out what a program does when it loses a lock. Start at {@link
 * io.redlockd.testing.RedlockServer}, or at {@link io.redlockd.testing.RedlockExtension} for JUnit 5.
 */
package io.redlockd.testing;
