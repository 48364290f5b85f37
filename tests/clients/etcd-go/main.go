// Command etcd-go asks a server for etcd's everyday work through one version of etcd's own Go client, unmodified: put, get, watch,
// lease, transaction, lock and election. It is built once for each version, by the module file of that name.
package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: etcd-go HOST:PORT")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(address string) error {
	client, err := connect(Config{Endpoints: []string{address}, DialTimeout: 10 * time.Second})
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer client.Close()
	limited, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, step := range []struct {
		name string
		do   func(context.Context, *Client) error
	}{{"put", put}, {"get", get}, {"watch", watch}, {"lease", lease}, {"txn", txn}, {"lock", lock}, {"election", election}} {
		if err := step.do(limited, client); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Println(step.name)
	}
	return nil
}

func put(ctx context.Context, client *Client) error {
	first, err := client.Put(ctx, "versions/a", "1")
	if err != nil {
		return err
	}
	second, err := client.Put(ctx, "versions/a", "2", withPrevKV())
	if err != nil {
		return err
	}
	if string(second.PrevKv.Value) != "1" || second.Header.Revision != first.Header.Revision+1 {
		return fmt.Errorf("unexpected answer %v after %v", second, first)
	}
	return nil
}

func get(ctx context.Context, client *Client) error {
	answer, err := client.Get(ctx, "versions/", withPrefix())
	if err != nil {
		return err
	}
	if len(answer.Kvs) != 1 || string(answer.Kvs[0].Value) != "2" || answer.Kvs[0].Version != 2 {
		return fmt.Errorf("unexpected answer %v", answer)
	}
	return nil
}

func watch(ctx context.Context, client *Client) error {
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	events := client.Watch(watching, "versions/", withPrefix(), withCreatedNotify())
	if created, ok := <-events; !ok || !created.Created {
		return fmt.Errorf("no watch: %v", created)
	}
	if _, err := client.Put(ctx, "versions/b", "3"); err != nil {
		return err
	}
	if _, err := client.Delete(ctx, "versions/b"); err != nil {
		return err
	}
	seen := ""
	for seen != "PUT 3 DELETE  " {
		answer, ok := <-events
		if !ok || answer.Err() != nil {
			return fmt.Errorf("after %q: %v", seen, answer.Err())
		}
		for _, event := range answer.Events {
			seen += fmt.Sprintf("%s %s ", event.Type, event.Kv.Value)
		}
	}
	return nil
}

func lease(ctx context.Context, client *Client) error {
	granted, err := client.Grant(ctx, 60)
	if err != nil {
		return err
	}
	if _, err := client.Put(ctx, "versions/leased", "4", withLease(granted.ID)); err != nil {
		return err
	}
	alive, err := client.KeepAliveOnce(ctx, granted.ID)
	if err != nil {
		return err
	}
	left, err := client.TimeToLive(ctx, granted.ID, withAttachedKeys())
	if err != nil {
		return err
	}
	if alive.TTL != 60 || len(left.Keys) != 1 || string(left.Keys[0]) != "versions/leased" {
		return fmt.Errorf("unexpected answers %v, %v", alive, left)
	}
	if _, err := client.Revoke(ctx, granted.ID); err != nil {
		return err
	}
	gone, err := client.Get(ctx, "versions/leased")
	if err != nil {
		return err
	}
	if gone.Count != 0 {
		return fmt.Errorf("the key outlived its lease: %v", gone)
	}
	return nil
}

func txn(ctx context.Context, client *Client) error {
	for _, row := range []struct {
		value     string
		succeeded bool
	}{{"2", true}, {"other", false}} {
		answer, err := client.Txn(ctx).
			If(compare(value("versions/a"), "=", row.value)).
			Then(opPut("versions/then", "5"), opGet("versions/a")).
			Else(opDelete("versions/then")).
			Commit()
		if err != nil {
			return err
		}
		if answer.Succeeded != row.succeeded {
			return fmt.Errorf("unexpected answer %v", answer)
		}
	}
	left, err := client.Get(ctx, "versions/then", withCountOnly())
	if err != nil {
		return err
	}
	if left.Count != 0 {
		return fmt.Errorf("the second transaction deleted nothing: %v", left)
	}
	return nil
}

// Two sessions want one lock: the second has it when the first gives it back.
func lock(ctx context.Context, client *Client) error {
	first, err := newSession(client)
	if err != nil {
		return err
	}
	defer first.Close()
	second, err := newSession(client)
	if err != nil {
		return err
	}
	defer second.Close()
	held, wanted := newMutex(first, "versions/lock"), newMutex(second, "versions/lock")
	if err := held.Lock(ctx); err != nil {
		return err
	}
	got := make(chan error, 1)
	go func() { got <- wanted.Lock(ctx) }()
	for {
		answer, err := client.Get(ctx, "versions/lock/", withPrefix(), withCountOnly())
		if err != nil {
			return err
		}
		if answer.Count == 2 {
			break
		}
	}
	select {
	case err := <-got:
		return fmt.Errorf("two have the lock: %v", err)
	default:
	}
	if err := held.Unlock(ctx); err != nil {
		return err
	}
	if err := <-got; err != nil {
		return err
	}
	return wanted.Unlock(ctx)
}

func election(ctx context.Context, client *Client) error {
	session, err := newSession(client)
	if err != nil {
		return err
	}
	defer session.Close()
	observing, cancel := context.WithCancel(ctx)
	defer cancel()
	seat := newElection(session, "versions/seat")
	leaders := seat.Observe(observing)
	if err := seat.Campaign(ctx, "a"); err != nil {
		return err
	}
	if err := seat.Proclaim(ctx, "b"); err != nil {
		return err
	}
	for told := range leaders {
		if string(told.Kvs[0].Value) == "b" {
			return seat.Resign(ctx)
		}
	}
	return fmt.Errorf("the leader was not observed: %v", ctx.Err())
}
