package main

import (
	"context"
	"crypto/rand"
	"math"
	"time"

	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/go-redsync/redsync/v4/redis/redigo"
	redigolib "github.com/gomodule/redigo/redis"
	goredislib "github.com/redis/go-redis/v9"
	redlockd "github.com/redlockd/redlockd/client/go"
	"github.com/redlockd/redlockd/client/go/redlockv1"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"
)

// connections is the size of the Redis libraries' pools: as many as cycles are outstanding, so that none waits for a
// connection, and all of them are kept, so that none is opened again.
const connections = 256

var subjects = map[string]func(daemon string, nodes []string) (locker, error){
	"etcd":             overEtcd,
	"redlockd":         client,
	"stubs":            stubs,
	"redsync-go-redis": overGoRedis,
	"redsync-redigo":   overRedigo,
}

func client(daemon string, _ []string) (locker, error) {
	client, err := redlockd.New([]string{daemon}, redlockd.Options{})
	return func(ctx context.Context, key string) (func() error, error) {
		lock, err := client.Acquire(ctx, key, redlockd.AcquireOptions{TTL: ttl})
		return func() error { return lock.Release(ctx) }, err
	}, err
}

// stubs makes the two unary calls of the generated code over one connection, as a program without a client library
// does. The token is set by the caller, as anybody must who repeats calls.
func stubs(daemon string, _ []string) (locker, error) {
	connection, err := grpc.NewClient(daemon, grpc.WithTransportCredentials(insecure.NewCredentials()))
	service := redlockv1.NewLockServiceClient(connection)
	return func(ctx context.Context, key string) (func() error, error) {
		token := rand.Text()
		_, err := service.Acquire(ctx, &redlockv1.AcquireRequest{Key: key, Token: &token, Ttl: durationpb.New(ttl)})
		return func() error {
			_, err := service.Release(ctx, &redlockv1.ReleaseRequest{Key: key, Token: token})
			return err
		}, err
	}, err
}

// overGoRedis and overRedigo keep redsync's defaults (drift 1 %, as the daemon's; 50 to 250 ms between two tries) except
// for the TTL, which is the same for all, and the limit of 32 tries: workers would fail if many want one key.
func overGoRedis(_ string, nodes []string) (locker, error) {
	var pools []redis.Pool
	for _, node := range nodes {
		pools = append(pools, goredis.NewPool(goredislib.NewClient(&goredislib.Options{
			Addr: node, PoolSize: connections, MaxIdleConns: connections})))
	}
	return overPools(pools), nil
}

func overRedigo(_ string, nodes []string) (locker, error) {
	var pools []redis.Pool
	for _, node := range nodes {
		pools = append(pools, redigo.NewPool(&redigolib.Pool{
			MaxIdle: connections, IdleTimeout: time.Minute,
			Dial: func() (redigolib.Conn, error) { return redigolib.Dial("tcp", node) }}))
	}
	return overPools(pools), nil
}

func overPools(pools []redis.Pool) locker {
	locks := redsync.New(pools...)
	return func(ctx context.Context, key string) (func() error, error) {
		mutex := locks.NewMutex(key, redsync.WithExpiry(ttl), redsync.WithTries(math.MaxInt))
		return func() error {
			_, err := mutex.UnlockContext(ctx)
			return err
		}, mutex.LockContext(ctx)
	}
}

// overEtcd takes a session for each mutex that is held or waited for, because two mutexes of one session are the same
// holder. Like connections, the sessions are kept. The keep-alive is that of etcdctl; without it, calls to a stopped
// member would never end.
func overEtcd(_ string, members []string) (locker, error) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints: members, DialKeepAliveTime: 2 * time.Second, DialKeepAliveTimeout: 6 * time.Second})
	sessions := make(chan *concurrency.Session, connections)
	return func(ctx context.Context, key string) (func() error, error) {
		session, err := taken(sessions, client)
		if err != nil {
			return nil, err
		}
		mutex := concurrency.NewMutex(session, key)
		return func() error {
			err := mutex.Unlock(ctx)
			sessions <- session
			return err
		}, mutex.Lock(ctx)
	}, err
}

func taken(sessions chan *concurrency.Session, client *clientv3.Client) (*concurrency.Session, error) {
	select {
	case session := <-sessions:
		return session, nil
	default:
		return concurrency.NewSession(client, concurrency.WithTTL(int(ttl.Seconds())))
	}
}
