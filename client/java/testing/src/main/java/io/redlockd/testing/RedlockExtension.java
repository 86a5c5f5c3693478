package io.redlockd.testing;

import org.junit.jupiter.api.extension.AfterAllCallback;
import org.junit.jupiter.api.extension.AfterEachCallback;
import org.junit.jupiter.api.extension.BeforeAllCallback;
import org.junit.jupiter.api.extension.ExtensionContext;
import org.junit.jupiter.api.extension.ParameterContext;
import org.junit.jupiter.api.extension.ParameterResolver;

/**
 * Starts a {@link RedlockServer} for the tests of a class, and passes it to methods that have a parameter of this type. After each
 * test, {@link RedlockServer#mend} undoes what the test did to the connections. Use another key in each test.
 *
 * <pre>{@code
 * @ExtendWith(RedlockExtension.class)
 * class ReportsTest {
 *   @Test
 *   void stopsWhenItsLockIsLost(RedlockServer server) { ... }
 * }
 * }</pre>
 */
public final class RedlockExtension
    implements BeforeAllCallback, AfterEachCallback, AfterAllCallback, ParameterResolver {
  private RedlockServer server;

  /** Creates an extension; JUnit does this. */
  public RedlockExtension() {}

  @Override
  public void beforeAll(ExtensionContext context) throws Exception {
    if (server == null) { // not for nested classes
      server = RedlockServer.start();
    }
  }

  @Override
  public void afterEach(ExtensionContext context) {
    server.mend();
  }

  @Override
  public void afterAll(ExtensionContext context) {
    boolean nested = context.getParent().flatMap(ExtensionContext::getTestClass).isPresent();
    if (server != null && !nested) {
      server.close();
      server = null;
    }
  }

  @Override
  public boolean supportsParameter(ParameterContext parameter, ExtensionContext context) {
    return parameter.getParameter().getType() == RedlockServer.class;
  }

  @Override
  public Object resolveParameter(ParameterContext parameter, ExtensionContext context) {
    return server;
  }

  /**
   * Returns the server, for extensions that are registered by a field.
   *
   * @return the server; null before the first test of the class
   */
  public RedlockServer server() {
    return server;
  }
}
