/* Preloaded into redlockd: a connection to 127.0.0.1 goes to the same port of the address in REDIRECT_CONNECT, such
 * as 127.0.0.2. So each daemon reaches the nodes through its own proxies, and still knows them by the same
 * addresses as the other daemons. */
#define _DEFAULT_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int connect(int fd, const struct sockaddr* address, socklen_t size) {
  const char* to = getenv("REDIRECT_CONNECT");
  struct sockaddr_in changed;
  if (to != NULL && address->sa_family == AF_INET && size == sizeof changed) {
    memcpy(&changed, address, sizeof changed);
    if (changed.sin_addr.s_addr == htonl(INADDR_LOOPBACK) &&
        inet_pton(AF_INET, to, &changed.sin_addr) == 1) {
      address = (const struct sockaddr*)&changed;
    }
  }
  return (int)syscall(SYS_connect, fd, address, size);
}
