/** Programs that use the client as a user does. */
package io.redlockd.verification;
