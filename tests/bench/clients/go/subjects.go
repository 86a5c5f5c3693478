package main

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/go-redsync/redsync/v4/redis/redigo"
	redigolib "github.com/gomodule/redigo/redis"
	goredislib "github.com/redis/go-redis/v9"
	redlockd "github.com/redlockd/redlockd/client/go"
	"github.com/redlockd/redlockd/client/go/redlockv1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"
)

// connections is the size of the Redis libraries' pools: as many as cycles are outstanding, so that none waits for a
// connection, and all of them are kept, so that none is opened again.
const connections = 256

var subjects = map[string]func(daemon string, nodes []string) (locker, error){
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

// overGoRedis and overRedigo keep redsync's defaults (drift 1 %, as the daemon's) except for the TTL, which is the same
// for all. Nobody else wants the keys, so the number of tries plays no part.
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
		mutex := locks.NewMutex(key, redsync.WithExpiry(ttl))
		return func() error {
			_, err := mutex.UnlockContext(ctx)
			return err
		}, mutex.LockContext(ctx)
	}
}
