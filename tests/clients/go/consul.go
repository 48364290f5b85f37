package main

import (
	"encoding/json"
	"time"

	"github.com/hashicorp/consul/api"
)

var consuls once[*api.Client]

func consulAt(c call) (*api.Client, error) {
	return consuls.get(c.Addr, func() (*api.Client, error) {
		config := api.DefaultConfig()
		config.Address = c.Addr
		return api.NewClient(config)
	})
}

// row is one instance as a reader of the Consul API sees it.
type row struct {
	Node    string              `json:"node"`
	ID      string              `json:"id"`
	Address string              `json:"address"`
	Port    int                 `json:"port"`
	Status  string              `json:"status"`
	Tags    []string            `json:"tags"`
	Meta    map[string]string   `json:"meta"`
	Checks  []map[string]string `json:"checks"`
}

type query struct {
	Name    string        `json:"name"`
	Passing bool          `json:"passing"`
	Index   uint64        `json:"index"`
	Wait    time.Duration `json:"wait_ms"`
}

func (q query) options() *api.QueryOptions {
	return &api.QueryOptions{WaitIndex: q.Index, WaitTime: q.Wait * time.Millisecond}
}

func consulOperations(operations map[string]operation) {
	operations["consul.register"] = func(c call) (any, error) {
		var a struct {
			Name, Service, Address string
			Port                   int
			Tags                   []string
			Meta                   map[string]string
			TTL                    string
			Reap                   string
		}
		if err := c.into(&a); err != nil {
			return nil, err
		}
		client, err := consulAt(c)
		if err != nil {
			return nil, err
		}
		registration := &api.AgentServiceRegistration{ID: a.Service, Name: a.Name, Address: a.Address, Port: a.Port, Tags: a.Tags, Meta: a.Meta}
		if a.TTL != "" {
			registration.Check = &api.AgentServiceCheck{TTL: a.TTL, DeregisterCriticalServiceAfter: a.Reap}
		}
		return true, client.Agent().ServiceRegister(registration)
	}
	operations["consul.ttl"] = func(c call) (any, error) {
		var a struct{ Check, Output, Status string }
		if err := c.into(&a); err != nil {
			return nil, err
		}
		client, err := consulAt(c)
		if err != nil {
			return nil, err
		}
		return true, client.Agent().UpdateTTL(a.Check, a.Output, a.Status)
	}
	operations["consul.maintenance"] = func(c call) (any, error) {
		var a struct {
			Service, Reason string
			Enable          bool
		}
		if err := c.into(&a); err != nil {
			return nil, err
		}
		client, err := consulAt(c)
		if err != nil {
			return nil, err
		}
		if a.Enable {
			return true, client.Agent().EnableServiceMaintenance(a.Service, a.Reason)
		}
		return true, client.Agent().DisableServiceMaintenance(a.Service)
	}
	operations["consul.deregister"] = func(c call) (any, error) {
		var a struct{ Service string }
		if err := c.into(&a); err != nil {
			return nil, err
		}
		client, err := consulAt(c)
		if err != nil {
			return nil, err
		}
		return true, client.Agent().ServiceDeregister(a.Service)
	}
	operations["consul.health"] = func(c call) (any, error) {
		var q query
		if err := c.into(&q); err != nil {
			return nil, err
		}
		client, err := consulAt(c)
		if err != nil {
			return nil, err
		}
		entries, meta, err := client.Health().Service(q.Name, "", q.Passing, q.options())
		if err != nil {
			return nil, err
		}
		rows := []row{}
		for _, entry := range entries {
			address := entry.Service.Address
			if address == "" {
				address = entry.Node.Address
			}
			one := row{Node: entry.Node.Node, ID: entry.Service.ID, Address: address, Port: entry.Service.Port,
				Status: entry.Checks.AggregatedStatus(), Tags: nonNil(entry.Service.Tags), Meta: entry.Service.Meta}
			for _, check := range entry.Checks {
				one.Checks = append(one.Checks, map[string]string{"id": check.CheckID, "status": check.Status, "output": check.Output, "notes": check.Notes})
			}
			rows = append(rows, one)
		}
		return map[string]any{"index": meta.LastIndex, "rows": rows}, nil
	}
	operations["consul.catalog"] = func(c call) (any, error) {
		var q query
		if err := c.into(&q); err != nil {
			return nil, err
		}
		client, err := consulAt(c)
		if err != nil {
			return nil, err
		}
		entries, meta, err := client.Catalog().Service(q.Name, "", q.options())
		if err != nil {
			return nil, err
		}
		rows := []row{}
		for _, entry := range entries {
			address := entry.ServiceAddress
			if address == "" {
				address = entry.Address
			}
			rows = append(rows, row{Node: entry.Node, ID: entry.ServiceID, Address: address, Port: entry.ServicePort,
				Tags: nonNil(entry.ServiceTags), Meta: entry.ServiceMeta})
		}
		return map[string]any{"index": meta.LastIndex, "rows": rows}, nil
	}
	operations["consul.services"] = func(c call) (any, error) {
		client, err := consulAt(c)
		if err != nil {
			return nil, err
		}
		services, meta, err := client.Catalog().Services(nil)
		if err != nil {
			return nil, err
		}
		return map[string]any{"index": meta.LastIndex, "services": services}, nil
	}
	operations["consul.kv.put"] = func(c call) (any, error) {
		var a struct{ Key, Value string }
		if err := c.into(&a); err != nil {
			return nil, err
		}
		client, err := consulAt(c)
		if err != nil {
			return nil, err
		}
		_, err = client.KV().Put(&api.KVPair{Key: a.Key, Value: []byte(a.Value)}, nil)
		return true, err
	}
	operations["consul.kv.get"] = func(c call) (any, error) {
		var a struct{ Key string }
		if err := c.into(&a); err != nil {
			return nil, err
		}
		client, err := consulAt(c)
		if err != nil {
			return nil, err
		}
		pair, meta, err := client.KV().Get(a.Key, nil)
		if err != nil {
			return nil, err
		}
		if pair == nil {
			return map[string]any{"index": meta.LastIndex, "value": nil}, nil
		}
		return map[string]any{"index": meta.LastIndex, "value": string(pair.Value), "modified": pair.ModifyIndex}, nil
	}
	operations["consul.lock"] = func(c call) (any, error) {
		var a struct{ Key string }
		if err := c.into(&a); err != nil {
			return nil, err
		}
		client, err := consulAt(c)
		if err != nil {
			return nil, err
		}
		lock, err := client.LockKey(a.Key)
		if err != nil {
			return nil, err
		}
		if _, err := lock.Lock(nil); err != nil {
			return nil, err
		}
		pair, _, err := client.KV().Get(a.Key, nil)
		if err != nil {
			return nil, err
		}
		held := json.RawMessage("false")
		if pair != nil && pair.Session != "" {
			held = json.RawMessage("true")
		}
		return map[string]any{"held": held}, lock.Unlock()
	}
}
