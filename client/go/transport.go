package redlockd

import (
	"context"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/redlockd/redlockd/client/go/internal/core"
	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

const (
	// A connection that is silent for so long is checked, and given up if the check is not answered. Sessions have pings
	// of their own, which are faster.
	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 5 * time.Second

	errorDomain = "redlock.v1"
)

// transport opens connections to the endpoints.
type transport struct {
	endpoints []string
	tls       credentials.TransportCredentials
	token     func(context.Context) (string, error)
	log       logger
}

func (t *transport) count() int               { return len(t.endpoints) }
func (t *transport) name(endpoint int) string { return t.endpoints[endpoint] }

func (t *transport) connect(endpoint int, more ...grpc.DialOption) (*grpc.ClientConn, *core.Failure) {
	address, secure := t.endpoints[endpoint], insecure.NewCredentials()
	if t.tls != nil && !strings.HasPrefix(address, "unix:") {
		secure = t.tls
	}
	// A proxy in the environment (https_proxy) is for websites. It may not reach the daemon, or may end streams that stay
	// open.
	connection, err := grpc.NewClient(address, append(more, grpc.WithTransportCredentials(secure), grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)))...)
	if err != nil {
		return nil, &core.Failure{Reason: core.InvalidArgument, Message: err.Error()}
	}
	return connection, nil
}

// session opens each Session on its own connection, so that a connection that loses packets is never reused.
func (t *transport) session(ctx context.Context, endpoint int) (call, func(), *core.Failure) {
	ctx, failure := t.authorize(ctx)
	if failure != nil {
		return nil, nil, failure
	}
	connection, failure := t.connect(endpoint)
	if failure != nil {
		return nil, nil, failure
	}
	session, err := pb.NewLockServiceClient(connection).Session(ctx)
	if err != nil {
		_ = connection.Close()
		return nil, nil, brokenBy(err)
	}
	return session, func() { _ = connection.Close() }, nil
}

// unary opens a connection for calls that are no Sessions.
func (t *transport) unary(endpoint int) (*grpc.ClientConn, *core.Failure) {
	return t.connect(endpoint, grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}))
}

func (t *transport) authorize(ctx context.Context) (context.Context, *core.Failure) {
	token, err := t.bearerToken(ctx)
	if err != nil && ctx.Err() != nil { // no daemon has refused anything
		return nil, &core.Failure{Reason: core.Unreachable, Message: "Options.Token did not return in time"}
	}
	if err != nil {
		return nil, &core.Failure{Reason: core.Unauthenticated, Message: err.Error()}
	}
	if token == "" {
		return ctx, nil
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token), nil
}

func (t *transport) bearerToken(ctx context.Context) (token string, err error) {
	if t.token == nil {
		return "", nil
	}
	type result struct {
		token string
		err   error
	}
	got := make(chan result, 1)
	go func() {
		token, err := t.callToken(ctx)
		got <- result{token, err}
	}()
	select { // the function may ignore its context
	case r := <-got:
		token, err = r.token, r.err
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return "", err
	}
	for _, character := range token {
		if character < ' ' || character > '~' {
			return "", fmt.Errorf("Options.Token returned a character that an HTTP header cannot carry: use printable ASCII")
		}
	}
	return token, nil
}

func (t *transport) callToken(ctx context.Context) (token string, err error) {
	defer func() {
		if problem := recover(); problem != nil {
			t.log.contain("Options.Token", problem)
			err = fmt.Errorf("Options.Token panicked: %v", problem)
		}
	}()
	token, err = t.token(ctx)
	if err != nil {
		return "", fmt.Errorf("Options.Token failed: %w", err)
	}
	return token, nil
}

// brokenBy returns why a stream ended or a call failed. If the daemon itself gave no reason, it is Unreachable.
func brokenBy(err error) *core.Failure {
	if err == io.EOF {
		return &core.Failure{Reason: core.Unreachable, Message: "the daemon closed the stream"}
	}
	if reported := reportedBy(err); reported != nil {
		return reported
	}
	message := status.Convert(err).Message()
	reason := core.Unreachable
	switch status.Code(err) {
	case codes.Unauthenticated:
		reason = core.Unauthenticated
	case codes.PermissionDenied:
		reason = core.PermissionDenied
	case codes.InvalidArgument:
		reason = core.InvalidArgument
	case codes.ResourceExhausted:
		reason = core.Overloaded
	case codes.Unimplemented:
		reason = core.Unimplemented
	}
	return &core.Failure{Reason: reason, Message: message}
}

// reportedBy returns the failure that a daemon has reported; nil if the error comes from elsewhere.
func reportedBy(err error) *core.Failure {
	reported := status.Convert(err)
	var info *errdetails.ErrorInfo
	var delay time.Duration
	for _, detail := range reported.Details() {
		switch x := detail.(type) {
		case *errdetails.ErrorInfo:
			if x.GetDomain() == errorDomain {
				info = x
			}
		case *errdetails.RetryInfo:
			delay = x.GetRetryDelay().AsDuration()
		}
	}
	if info == nil {
		return nil
	}
	return core.NewFailure(info.GetReason(), reported.Message(), delay, info.GetMetadata())
}
