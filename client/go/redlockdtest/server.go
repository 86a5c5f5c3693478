// Package redlockdtest starts real redlockd daemons for tests, so that a test can see within milliseconds what a program
// does when it loses a lock or its daemon.
//
//	server := redlockdtest.Start(t)
//	client, err := redlockd.New([]string{server.Endpoint()}, redlockd.Options{})
//	...
//	err = server.Lose("reports") // the holder hears that the lock is lost
//
// It needs the programs redlockd and redis-server. The daemon is the one that the environment variable REDLOCKD names,
// otherwise redlockd in PATH. No port is fixed, so tests can run at the same time.
package redlockdtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

const (
	startTimeout = 30 * time.Second // of a daemon on a busy machine
	adminTimeout = 10 * time.Second // of a call of the AdminService
	poll         = 5 * time.Millisecond
)

// Options configures a Server.
type Options struct {
	Redlockd string   // the program; "": the environment variable REDLOCKD, otherwise redlockd in PATH
	Args     []string // further arguments of the daemon that clients use
}

// Server is a daemon over three Redis nodes, behind a proxy that can delay and cut. The nodes, and so all locks, survive
// a restart of the daemon. Its methods may be called at any time and from any goroutine, except that Restart, Crash and
// Close exclude each other.
type Server struct {
	program   string
	directory string
	args      []string
	owner     *process // runs the nodes for as long as the server is open
	daemon    *process // the daemon that clients use
	proxy     *proxy
}

// Start starts a server that ends with the test. It ends the test if that fails.
func Start(t testing.TB) *Server {
	t.Helper()
	server, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server
}

// New starts a server for programs that have no testing.TB, such as TestMain. Close ends it.
func New(options Options) (*Server, error) {
	program, err := find(options.Redlockd)
	if err != nil {
		return nil, err
	}
	directory, err := os.MkdirTemp("", "redlockdtest-")
	if err != nil {
		return nil, fmt.Errorf("redlockdtest: %w", err)
	}
	s := &Server{program: program, directory: directory}
	if err := s.start(options.Args); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func find(program string) (string, error) {
	where := "Options.Redlockd"
	if program == "" {
		program, where = os.Getenv("REDLOCKD"), "the environment variable REDLOCKD"
	}
	if program == "" {
		program, where = "redlockd", "PATH; set REDLOCKD to the daemon's path"
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("redlockdtest: there is no program %q (from %s)", program, where)
	}
	if _, err := exec.LookPath("redis-server"); err != nil {
		return "", errors.New("redlockdtest: redis-server is not in PATH; redlockd --dev needs it (Debian: redis-server)")
	}
	return path, nil
}

func (s *Server) start(args []string) (err error) {
	if s.owner, err = s.run("nodes", "--dev"); err != nil {
		return err
	}
	var nodes *pb.ListNodesResponse
	err = s.administer("nodes", func(ctx context.Context, admin pb.AdminServiceClient) (err error) {
		nodes, err = admin.ListNodes(ctx, &pb.ListNodesRequest{})
		return err
	})
	if err != nil {
		return fmt.Errorf("redlockdtest: the nodes are not known: %w", err)
	}
	for _, node := range nodes.GetNodes() {
		s.args = append(s.args, "--node", nodeAddress(node.GetName()))
	}
	// Clients that the daemon would wait for stay at it, because it is the only one.
	s.args = append(append(s.args, "--drain-timeout", "100ms"), args...)
	if s.daemon, err = s.run("daemon", s.args...); err != nil {
		return err
	}
	s.proxy, err = newProxy(filepath.Join(s.directory, "daemon"))
	return err
}

// nodeAddress returns the address of a node for the option --node: unix:/path becomes unix:///path, which stays as it is.
func nodeAddress(name string) string {
	return "unix:///" + strings.TrimLeft(strings.TrimPrefix(name, "unix:"), "/")
}

func (s *Server) socket(name string) string { return "unix:" + filepath.Join(s.directory, name) }

// run starts a daemon and waits until it serves.
func (s *Server) run(name string, args ...string) (*process, error) {
	// A busy machine must not make nodes look as if they did not answer.
	args = append([]string{"--listen", s.socket(name), "--node-timeout", "1s", "--log-level", "error"}, args...)
	p, err := startProcess(s.program, args...)
	if err != nil {
		return nil, fmt.Errorf("redlockdtest: %s: %w", s.program, err)
	}
	connection, err := connect(s.socket(name))
	if err != nil {
		p.end(syscall.SIGKILL)
		return nil, err
	}
	defer func() { _ = connection.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		connection.ResetConnectBackoff()
		health, err := healthpb.NewHealthClient(connection).Check(ctx, &healthpb.HealthCheckRequest{})
		if health.GetStatus() == healthpb.HealthCheckResponse_SERVING {
			return p, nil
		}
		select {
		case <-p.ended:
			return nil, fmt.Errorf("redlockdtest: %s ended: %s", s.program, p.said())
		case <-ctx.Done():
			p.end(syscall.SIGKILL)
			return nil, fmt.Errorf("redlockdtest: %s does not serve: %v: %s", s.program, err, p.said())
		case <-time.After(poll):
		}
	}
}

func connect(address string) (*grpc.ClientConn, error) {
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		return nil, fmt.Errorf("redlockdtest: %w", err)
	}
	return connection, nil
}

// administer calls the AdminService of a daemon, never through the proxy.
func (s *Server) administer(name string, call func(context.Context, pb.AdminServiceClient) error) error {
	connection, err := connect(s.socket(name))
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	return call(ctx, pb.NewAdminServiceClient(connection))
}

// Endpoint returns the address for redlockd.New. It is that of the proxy, on 127.0.0.1.
func (s *Server) Endpoint() string { return s.proxy.listener.Addr().String() }

// Lose takes the lock on a key away from its holder, which hears of the loss within milliseconds. A lock of several keys
// is lost with any of them.
func (s *Server) Lose(key string) error {
	err := s.administer("daemon", func(ctx context.Context, admin pb.AdminServiceClient) error {
		_, err := admin.ForceRelease(ctx, &pb.ForceReleaseRequest{Key: key, Why: "redlockdtest.Server.Lose"})
		return err
	})
	if err != nil {
		return fmt.Errorf("redlockdtest: the lock %q could not be taken away: %w", key, err)
	}
	return nil
}

// Delay holds back all bytes between clients and the daemon by d in each direction, from now on.
func (s *Server) Delay(d time.Duration) { s.proxy.setDelay(d) }

// Cut stops all bytes between clients and the daemon. Connections stay open, and new ones are accepted.
func (s *Server) Cut() { s.proxy.cut() }

// Mend ends Delay and Cut. What was held back by Cut arrives.
func (s *Server) Mend() { s.proxy.mend() }

// Reset closes all connections with a TCP reset.
func (s *Server) Reset() { s.proxy.reset() }

// Restart shuts the daemon down in an orderly way (SIGTERM) and starts it again.
func (s *Server) Restart() error { return s.restart(syscall.SIGTERM) }

// Crash ends the daemon at once (SIGKILL) and starts it again.
func (s *Server) Crash() error { return s.restart(syscall.SIGKILL) }

func (s *Server) restart(by syscall.Signal) (err error) {
	s.daemon.end(by)
	s.daemon, err = s.run("daemon", s.args...)
	return err
}

// Close ends the daemons and the nodes, and removes their files.
func (s *Server) Close() {
	if s.proxy != nil {
		s.proxy.close()
	}
	if s.daemon != nil {
		s.daemon.end(syscall.SIGTERM)
	}
	if s.owner != nil {
		s.owner.end(syscall.SIGTERM) // ends its nodes
	}
	_ = os.RemoveAll(s.directory)
}
