// A load of etcd's own Go client, for whoever wants to know what a server costs behind the client that most programs use.
//
// It prints "begin" when a second of warming up is over, works for the given time, prints "end COUNT", and ends. What drives it reads the
// server's CPU time at either line.
package main

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"log"
	mathrand "math/rand/v2"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	valueBytes = 256
	putKeys    = 100_000
	rangeKeys  = 1000
)

func key(number uint64) string { return fmt.Sprintf("key/%012d", number) }

func value() string {
	bytes := make([]byte, valueBytes)
	if _, err := rand.Read(bytes); err != nil {
		log.Fatal(err)
	}
	return string(bytes)
}

func main() {
	endpoint := flag.String("endpoint", "127.0.0.1:2379", "where the server listens")
	row := flag.String("row", "put", "put, range-serializable, range-linearizable or keep-alive")
	workers := flag.Int("clients", 100, "operations under way at a time")
	connections := flag.Int("connections", 16, "connections they share")
	seconds := flag.Float64("seconds", 10, "how long to measure")
	flag.Parse()

	ctx := context.Background()
	var clients []*clientv3.Client
	for range min(*connections, *workers) {
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{*endpoint}, DialTimeout: 5 * time.Second})
		if err != nil {
			log.Fatal(err)
		}
		clients = append(clients, client)
	}
	operation := prepare(ctx, *row, clients[0])

	var done atomic.Uint64
	for worker := range *workers {
		client := clients[worker%len(clients)]
		go func() {
			once := operation(ctx, client)
			for {
				if err := once(); err != nil {
					log.Fatal(err)
				}
				done.Add(1)
			}
		}()
	}
	time.Sleep(time.Second)
	before := done.Load()
	fmt.Println("begin")
	time.Sleep(time.Duration(*seconds * float64(time.Second)))
	fmt.Println("end", done.Load()-before)
}

// prepare fills the server as the row needs it, and gives what makes one worker's operation.
func prepare(ctx context.Context, row string, client *clientv3.Client) func(context.Context, *clientv3.Client) func() error {
	switch row {
	case "put":
		return func(ctx context.Context, client *clientv3.Client) func() error {
			return func() error {
				_, err := client.Put(ctx, key(mathrand.Uint64N(putKeys)), value())
				return err
			}
		}
	case "range-serializable", "range-linearizable":
		for number := range uint64(rangeKeys) {
			if _, err := client.Put(ctx, key(number), value()); err != nil {
				log.Fatal(err)
			}
		}
		var options []clientv3.OpOption
		if row == "range-serializable" {
			options = append(options, clientv3.WithSerializable())
		}
		return func(ctx context.Context, client *clientv3.Client) func() error {
			return func() error {
				answer, err := client.Get(ctx, key(mathrand.Uint64N(rangeKeys)), options...)
				if err == nil && len(answer.Kvs) != 1 {
					err = fmt.Errorf("%d keys where there is one", len(answer.Kvs))
				}
				return err
			}
		}
	case "keep-alive":
		// The client renews every third of the time to live; its stream is driven by hand, as fast as it is answered.
		return func(ctx context.Context, client *clientv3.Client) func() error {
			lease, err := client.Grant(ctx, 3600)
			if err != nil {
				log.Fatal(err)
			}
			stream, err := pb.NewLeaseClient(client.ActiveConnection()).LeaseKeepAlive(ctx)
			if err != nil {
				log.Fatal(err)
			}
			return func() error {
				if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(lease.ID)}); err != nil {
					return err
				}
				answer, err := stream.Recv()
				if err == nil && answer.TTL != 3600 {
					err = fmt.Errorf("renewed to %d", answer.TTL)
				}
				return err
			}
		}
	}
	log.Fatalf("no row %q", row)
	return nil
}
