package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// By address, or by several with commas between.
var etcds once[*clientv3.Client]

const callTimeout = 10 * time.Second

func etcdAt(addr string) (*clientv3.Client, error) {
	return etcds.get(addr, func() (*clientv3.Client, error) {
		return clientv3.New(clientv3.Config{Endpoints: strings.Split(addr, ","), DialTimeout: 5 * time.Second, RejectOldCluster: true})
	})
}

// record is one key as a reader of etcd sees it.
type record struct {
	Key     string `json:"key"`
	Value   string `json:"value"`
	Create  int64  `json:"create"`
	Mod     int64  `json:"mod"`
	Version int64  `json:"version"`
	Lease   int64  `json:"lease"`
}

// event is one change of a watched key.
type event struct {
	Type string `json:"type"`
	record
}

// watching collects the events of one watch until somebody asks for them.
type watching struct {
	mutex    sync.Mutex
	events   []event
	revision int64
	failure  string
	stop     context.CancelFunc
}

var watches = struct {
	mutex sync.Mutex
	next  int64
	open  map[int64]*watching
}{open: map[int64]*watching{}}

type keyed struct {
	Key, Value string
	Prefix     bool
	Revision   int64
	TTL        int64
	Lease      int64
	Watch      int64
}

func (k keyed) options() []clientv3.OpOption {
	options := []clientv3.OpOption{}
	if k.Prefix {
		options = append(options, clientv3.WithPrefix())
	}
	if k.Revision > 0 {
		options = append(options, clientv3.WithRev(k.Revision))
	}
	return options
}

// put writes a key, under a lease of its own that is kept alive when a TTL is given: what every registry on etcd does.
func put(addr string, k keyed) (any, error) {
	client, err := etcdAt(addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	options := []clientv3.OpOption{}
	lease := k.Lease
	if k.TTL > 0 {
		granted, err := client.Grant(ctx, k.TTL)
		if err != nil {
			return nil, err
		}
		lease = int64(granted.ID)
		alive, err := client.KeepAlive(context.Background(), granted.ID)
		if err != nil {
			return nil, err
		}
		go func() {
			for range alive {
			}
		}()
	}
	if lease != 0 {
		options = append(options, clientv3.WithLease(clientv3.LeaseID(lease)))
	}
	done, err := client.Put(ctx, k.Key, k.Value, options...)
	if err != nil {
		return nil, err
	}
	return map[string]any{"revision": done.Header.Revision, "lease": lease}, nil
}

func etcdOperations(operations map[string]operation) {
	operations["etcd.put"] = func(c call) (any, error) {
		var k keyed
		if err := c.into(&k); err != nil {
			return nil, err
		}
		return put(c.Addr, k)
	}
	operations["etcd.range"] = func(c call) (any, error) {
		var k keyed
		if err := c.into(&k); err != nil {
			return nil, err
		}
		client, err := etcdAt(c.Addr)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		found, err := client.Get(ctx, k.Key, k.options()...)
		if err != nil {
			return nil, err
		}
		records := []record{}
		for _, kv := range found.Kvs {
			records = append(records, record{string(kv.Key), string(kv.Value), kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease})
		}
		return map[string]any{"revision": found.Header.Revision, "count": found.Count, "records": records}, nil
	}
	operations["etcd.delete"] = func(c call) (any, error) {
		var k keyed
		if err := c.into(&k); err != nil {
			return nil, err
		}
		client, err := etcdAt(c.Addr)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		done, err := client.Delete(ctx, k.Key, k.options()...)
		if err != nil {
			return nil, err
		}
		return map[string]any{"revision": done.Header.Revision, "deleted": done.Deleted}, nil
	}
	operations["etcd.revoke"] = func(c call) (any, error) {
		var k keyed
		if err := c.into(&k); err != nil {
			return nil, err
		}
		client, err := etcdAt(c.Addr)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		_, err = client.Revoke(ctx, clientv3.LeaseID(k.Lease))
		return true, err
	}
	operations["etcd.watch"] = func(c call) (any, error) {
		var k keyed
		if err := c.into(&k); err != nil {
			return nil, err
		}
		client, err := etcdAt(c.Addr)
		if err != nil {
			return nil, err
		}
		ctx, stop := context.WithCancel(context.Background())
		w := &watching{stop: stop}
		options := append(k.options(), clientv3.WithCreatedNotify())
		stream := client.Watch(clientv3.WithRequireLeader(ctx), k.Key, options...)
		select {
		case created, open := <-stream:
			if !open || created.Err() != nil {
				stop()
				return nil, fmt.Errorf("watch not created: %v", created.Err())
			}
			w.revision = created.Header.Revision
		case <-time.After(callTimeout):
			stop()
			return nil, fmt.Errorf("watch not created within %v", callTimeout)
		}
		go func() {
			for response := range stream {
				w.mutex.Lock()
				if err := response.Err(); err != nil {
					w.failure = err.Error()
				}
				for _, e := range response.Events {
					w.events = append(w.events, event{e.Type.String(), record{string(e.Kv.Key), string(e.Kv.Value), e.Kv.CreateRevision, e.Kv.ModRevision, e.Kv.Version, e.Kv.Lease}})
				}
				w.revision = response.Header.Revision
				w.mutex.Unlock()
			}
		}()
		watches.mutex.Lock()
		defer watches.mutex.Unlock()
		watches.next++
		watches.open[watches.next] = w
		return map[string]any{"watch": watches.next, "revision": w.revision}, nil
	}
	operations["etcd.events"] = func(c call) (any, error) {
		var k keyed
		if err := c.into(&k); err != nil {
			return nil, err
		}
		watches.mutex.Lock()
		w := watches.open[k.Watch]
		watches.mutex.Unlock()
		if w == nil {
			return nil, fmt.Errorf("no watch %d", k.Watch)
		}
		w.mutex.Lock()
		defer w.mutex.Unlock()
		if w.failure != "" {
			return nil, fmt.Errorf("watch ended: %s", w.failure)
		}
		return map[string]any{"events": nonNil(append([]event(nil), w.events...))}, nil
	}
	operations["etcd.unwatch"] = func(c call) (any, error) {
		var k keyed
		if err := c.into(&k); err != nil {
			return nil, err
		}
		watches.mutex.Lock()
		defer watches.mutex.Unlock()
		if w := watches.open[k.Watch]; w != nil {
			w.stop()
			delete(watches.open, k.Watch)
		}
		return true, nil
	}
	operations["etcd.status"] = func(c call) (any, error) {
		client, err := etcdAt(c.Addr)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		status, err := client.Status(ctx, c.Addr)
		if err != nil {
			return nil, err
		}
		return map[string]any{"version": status.Version, "revision": status.Header.Revision, "leader": status.Leader}, nil
	}
}
