'use strict';

// Keeps a connection of gRPC from keeping the process alive.
//
// gRPC references a connection for as long as a call is open on it, and a Session is always open. It has no option for
// this. But it makes each connection through the `_createSecureConnector` of the credentials, which gets the socket.
// If a later version of gRPC works differently, held locks keep the process alive again, and nothing else changes.

// Returns credentials that behave like `credentials`. `onSocket(socket)` is called for each connection.
const tap = (credentials, onSocket) => {
  if (typeof credentials._createSecureConnector !== 'function') return credentials;
  const tapped = Object.create(credentials);
  tapped._createSecureConnector = (...values) => {
    const connector = credentials._createSecureConnector(...values);
    const { connect } = connector;
    connector.connect = (socket) => {
      onSocket(socket);
      return connect.call(connector, socket);
    };
    return connector;
  };
  return tapped;
};

module.exports = { tap };
