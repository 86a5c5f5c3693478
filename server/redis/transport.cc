#include "server/redis/transport.h"

#include <asio/connect.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/ssl.hpp>
#include <asio/write.hpp>
#include <stdexcept>
#include <utility>

namespace redlock::redis {
namespace {

using asio::ip::tcp;
using Unix = asio::local::stream_protocol;

// Reading and writing are the same for every stream; connecting is not. Handlers hold the
// transport, so that it outlives them whenever its owner lets go.
template <typename Stream>
class StreamTransport : public Transport, public std::enable_shared_from_this<Transport> {
 public:
  template <typename... Args>
  explicit StreamTransport(Args&&... args) : stream_(std::forward<Args>(args)...) {}

  void ReadSome(std::span<char> buffer, Moved done) override {
    stream_.async_read_some(asio::buffer(buffer.data(), buffer.size()),
                            [self = shared_from_this(), done = std::move(done)](
                                std::error_code error, std::size_t size) { done(error, size); });
  }

  void WriteAll(std::string_view data, Moved done) override {
    asio::async_write(stream_, asio::buffer(data.data(), data.size()),
                      [self = shared_from_this(), done = std::move(done)](
                          std::error_code error, std::size_t size) { done(error, size); });
  }

 protected:
  Stream stream_;
};

void CloseSocket(auto& socket) {
  std::error_code ignored;
  socket.close(ignored);
}

// Resolves and connects, trying each address. Numeric addresses need no resolver thread.
class TcpConnector {
 public:
  TcpConnector(asio::io_context& io, const Endpoint& endpoint)
      : resolver_(io), host_(endpoint.host), port_(endpoint.port) {}

  void Connect(tcp::socket& socket, Transport::Connected done) {
    std::error_code not_numeric;
    const auto address = asio::ip::make_address(host_, not_numeric);
    if (!not_numeric) {
      const tcp::endpoint endpoint(address, port_);
      socket.async_connect(endpoint, [&socket, done = std::move(done)](std::error_code error) {
        if (!error) Tune(socket);
        done(error);
      });
      return;
    }
    resolver_.async_resolve(
        host_, std::to_string(port_),
        [&socket, done = std::move(done)](std::error_code error,
                                          const tcp::resolver::results_type& addresses) mutable {
          if (error) {
            done(error);
            return;
          }
          asio::async_connect(
              socket, addresses,
              [&socket, done = std::move(done)](std::error_code failed, const tcp::endpoint&) {
                if (!failed) Tune(socket);
                done(failed);
              });
        });
  }

  void Cancel() { resolver_.cancel(); }

 private:
  static void Tune(tcp::socket& socket) {
    std::error_code ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    // An idle connection to a node that vanished is noticed by the kernel.
    socket.set_option(asio::socket_base::keep_alive(true), ignored);
    using Idle = asio::detail::socket_option::integer<IPPROTO_TCP, TCP_KEEPIDLE>;
    using Pause = asio::detail::socket_option::integer<IPPROTO_TCP, TCP_KEEPINTVL>;
    using Count = asio::detail::socket_option::integer<IPPROTO_TCP, TCP_KEEPCNT>;
    socket.set_option(Idle(5), ignored);
    socket.set_option(Pause(2), ignored);
    socket.set_option(Count(3), ignored);
  }

  tcp::resolver resolver_;
  std::string host_;
  std::uint16_t port_;
};

class TcpTransport final : public StreamTransport<tcp::socket> {
 public:
  TcpTransport(asio::io_context& io, const Endpoint& endpoint)
      : StreamTransport(io), connector_(io, endpoint) {}

  void Connect(Connected done) override {
    connector_.Connect(stream_, [self = shared_from_this(),
                                 done = std::move(done)](std::error_code error) { done(error); });
  }
  void Close() override {
    connector_.Cancel();
    CloseSocket(stream_);
  }

 private:
  TcpConnector connector_;
};

class UnixTransport final : public StreamTransport<Unix::socket> {
 public:
  UnixTransport(asio::io_context& io, const Endpoint& endpoint)
      : StreamTransport(io), path_(endpoint.path) {}

  void Connect(Connected done) override {
    stream_.async_connect(Unix::endpoint(path_),
                          [self = shared_from_this(),
                           done = std::move(done)](std::error_code error) { done(error); });
  }
  void Close() override { CloseSocket(stream_); }

 private:
  std::string path_;
};

class TlsTransport final : public StreamTransport<asio::ssl::stream<tcp::socket>> {
 public:
  TlsTransport(asio::io_context& io, const Endpoint& endpoint,
               std::shared_ptr<asio::ssl::context> context)
      : StreamTransport(io, *context),
        context_(std::move(context)),
        connector_(io, endpoint),
        host_(endpoint.host) {}

  void Connect(Connected done) override {
    stream_.set_verify_mode(asio::ssl::verify_peer);
    stream_.set_verify_callback(asio::ssl::host_name_verification(host_));
    SSL_set_tlsext_host_name(stream_.native_handle(), host_.c_str());
    connector_.Connect(stream_.next_layer(), [this, self = shared_from_this(),
                                              done = std::move(done)](std::error_code error) {
      if (error) {
        done(error);
        return;
      }
      stream_.async_handshake(asio::ssl::stream_base::client,
                              [self, done](std::error_code failed) { done(failed); });
    });
  }
  void Close() override {
    connector_.Cancel();
    CloseSocket(stream_.next_layer());
  }

 private:
  std::shared_ptr<asio::ssl::context> context_;
  TcpConnector connector_;
  std::string host_;
};

void Check(const std::error_code& error, const std::string& what) {
  if (error) throw std::system_error(error, what);
}

}  // namespace

std::shared_ptr<asio::ssl::context> MakeTlsContext(const TlsOptions& options) {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_client);
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
  std::error_code error;
  if (options.ca_file.empty()) {
    context->set_default_verify_paths(error);
    Check(error, "the system's CA certificates");
  } else {
    context->load_verify_file(options.ca_file, error);
    Check(error, "CA file " + options.ca_file);
  }
  if (!options.cert_file.empty()) {
    context->use_certificate_chain_file(options.cert_file, error);
    Check(error, "certificate file " + options.cert_file);
    context->use_private_key_file(options.key_file, asio::ssl::context::pem, error);
    Check(error, "key file " + options.key_file);
  }
  return context;
}

std::shared_ptr<Transport> MakeTransport(asio::io_context& io, const Endpoint& endpoint,
                                         std::shared_ptr<asio::ssl::context> tls) {
  switch (endpoint.kind) {
    case Endpoint::Kind::kTcp:
      return std::make_shared<TcpTransport>(io, endpoint);
    case Endpoint::Kind::kTls:
      return std::make_shared<TlsTransport>(io, endpoint, std::move(tls));
    case Endpoint::Kind::kUnix:
      return std::make_shared<UnixTransport>(io, endpoint);
  }
  return nullptr;
}

}  // namespace redlock::redis
