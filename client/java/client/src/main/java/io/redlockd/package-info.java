/**
 * The client of redlockd, the lock service. Start at {@link io.redlockd.RedlockClient}.
 *
 * <p>Packages whose names contain {@code internal} are not part of the API.
 */
package io.redlockd;
