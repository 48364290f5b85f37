package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/zeromicro/go-zero/core/discov"
	"github.com/zeromicro/go-zero/core/logx"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
)

// kitexRecord is the value that Kitex' registry-etcd writes. Kitex itself is no Go module that can be had, so its record is
// written by its published form with clientv3: field order and absent tags as there.
type kitexRecord struct {
	Network string            `json:"network"`
	Address string            `json:"address"`
	Weight  int               `json:"weight"`
	Tags    map[string]string `json:"tags"`
}

var (
	publishers  once[*discov.Publisher]
	subscribers once[*discov.Subscriber]
)

func frameworkOperations(operations map[string]operation) {
	logx.Disable()

	operations["kitex.register"] = func(c call) (any, error) {
		var a struct {
			Service, Address string
			Weight           int
			Tags             map[string]string
			TTL              int64
		}
		if err := c.into(&a); err != nil {
			return nil, err
		}
		value, err := json.Marshal(kitexRecord{"tcp", a.Address, a.Weight, a.Tags})
		if err != nil {
			return nil, err
		}
		return put(c.Addr, keyed{Key: "kitex/registry-etcd/" + a.Service + "/" + a.Address, Value: string(value), TTL: a.TTL})
	}

	operations["naming.add"] = func(c call) (any, error) {
		var a struct {
			Target, Key, Address string
			Lease                int64
		}
		if err := c.into(&a); err != nil {
			return nil, err
		}
		client, err := etcdAt(c.Addr)
		if err != nil {
			return nil, err
		}
		manager, err := endpoints.NewManager(client, a.Target)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		lease, err := client.Grant(ctx, 60)
		if err != nil {
			return nil, err
		}
		if err := manager.AddEndpoint(ctx, a.Target+"/"+a.Key, endpoints.Endpoint{Addr: a.Address}, clientv3.WithLease(lease.ID)); err != nil {
			return nil, err
		}
		return map[string]any{"lease": int64(lease.ID)}, nil
	}
	operations["naming.list"] = func(c call) (any, error) {
		var a struct{ Target string }
		if err := c.into(&a); err != nil {
			return nil, err
		}
		client, err := etcdAt(c.Addr)
		if err != nil {
			return nil, err
		}
		manager, err := endpoints.NewManager(client, a.Target)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		found, err := manager.List(ctx)
		if err != nil {
			return nil, err
		}
		addresses := []string{}
		for _, endpoint := range found {
			addresses = append(addresses, endpoint.Addr)
		}
		return addresses, nil
	}

	operations["gozero.publish"] = func(c call) (any, error) {
		var a struct{ Key, Value string }
		if err := c.into(&a); err != nil {
			return nil, err
		}
		_, err := publishers.get(c.Addr+a.Key+a.Value, func() (*discov.Publisher, error) {
			publisher := discov.NewPublisher([]string{c.Addr}, a.Key, a.Value)
			return publisher, publisher.KeepAlive()
		})
		return true, err
	}
	operations["gozero.stop"] = func(c call) (any, error) {
		var a struct{ Key, Value string }
		if err := c.into(&a); err != nil {
			return nil, err
		}
		publisher, err := publishers.get(c.Addr+a.Key+a.Value, func() (*discov.Publisher, error) {
			return nil, fmt.Errorf("nothing published under %q", a.Key)
		})
		if err != nil {
			return nil, err
		}
		publisher.Stop()
		publishers.drop(c.Addr + a.Key + a.Value)
		return true, nil
	}
	operations["gozero.values"] = func(c call) (any, error) {
		var a struct{ Key string }
		if err := c.into(&a); err != nil {
			return nil, err
		}
		subscriber, err := subscribers.get(c.Addr+a.Key, func() (*discov.Subscriber, error) {
			return discov.NewSubscriber([]string{c.Addr}, a.Key)
		})
		if err != nil {
			return nil, err
		}
		return nonNil(subscriber.Values()), nil
	}
}
