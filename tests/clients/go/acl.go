package main

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/hashicorp/consul/api"
)

// aclOperations puts the access control of Consul's client to work: every call of it that this server has, once, in order.
func aclOperations(operations map[string]operation) {
	operations["consul.acl"] = func(c call) (any, error) {
		anonymous, err := consulAt(c)
		if err != nil {
			return nil, err
		}
		first, _, err := anonymous.ACL().Bootstrap()
		if err != nil {
			return nil, fmt.Errorf("bootstrap: %w", err)
		}
		_, _, again := anonymous.ACL().Bootstrap()
		as := func(secret string) *api.Client {
			config := api.DefaultConfig()
			config.Address = c.Addr
			config.Token = secret
			client, _ := api.NewClient(config)
			return client
		}
		root := as(first.SecretID)
		acl := root.ACL()

		policy, _, err := acl.PolicyCreate(&api.ACLPolicy{Name: "web", Description: "writes web", Rules: `service "web" { policy = "write" } key_prefix "web/" { policy = "write" }`, Datacenters: []string{"dc1"}}, nil)
		if err != nil {
			return nil, fmt.Errorf("policy create: %w", err)
		}
		read, meta, err := acl.PolicyRead(policy.ID, nil)
		if err != nil || !reflect.DeepEqual(policy, read) || meta.LastIndex == 0 {
			return nil, fmt.Errorf("policy read: %w %v %v", err, policy, read)
		}
		named, _, err := acl.PolicyReadByName("web", nil)
		if err != nil || !reflect.DeepEqual(policy, named) {
			return nil, fmt.Errorf("policy by name: %w", err)
		}
		if none, _, err := acl.PolicyReadByName("none", nil); err != nil || none != nil {
			return nil, fmt.Errorf("policy by no name: %w %v", err, none)
		}
		read.Rules += ` node_prefix "" { policy = "read" }`
		read.Datacenters = nil
		updated, _, err := acl.PolicyUpdate(read, nil)
		if err != nil || updated.ModifyIndex <= policy.ModifyIndex {
			return nil, fmt.Errorf("policy update: %w", err)
		}
		policies, _, err := acl.PolicyList(nil)
		if err != nil {
			return nil, fmt.Errorf("policy list: %w", err)
		}

		role, _, err := acl.RoleCreate(&api.ACLRole{Name: "web", Policies: []*api.ACLLink{{ID: policy.ID}}}, nil)
		if err != nil {
			return nil, fmt.Errorf("role create: %w", err)
		}
		if found, _, err := acl.RoleRead(role.ID, nil); err != nil || !reflect.DeepEqual(role, found) {
			return nil, fmt.Errorf("role read: %w", err)
		}
		role.Description = "of web"
		if _, _, err := acl.RoleUpdate(role, nil); err != nil {
			return nil, fmt.Errorf("role update: %w", err)
		}
		if found, _, err := acl.RoleReadByName("web", nil); err != nil || found.Description != "of web" {
			return nil, fmt.Errorf("role by name: %w", err)
		}

		token, _, err := acl.TokenCreate(&api.ACLToken{Description: "web", Roles: []*api.ACLLink{{Name: "web"}}, ExpirationTTL: time.Hour}, nil)
		if err != nil {
			return nil, fmt.Errorf("token create: %w", err)
		}
		kept, _, err := acl.TokenRead(token.AccessorID, nil)
		if err != nil || !reflect.DeepEqual(token, kept) {
			return nil, fmt.Errorf("token read: %w %v %v", err, token, kept)
		}
		kept.Description = "of web"
		if kept, _, err = acl.TokenUpdate(kept, nil); err != nil || kept.Description != "of web" {
			return nil, fmt.Errorf("token update: %w", err)
		}
		speaks, _, err := acl.TokenCreate(&api.ACLToken{ServiceIdentities: []*api.ACLServiceIdentity{{ServiceName: "api"}}}, nil)
		if err != nil || as(speaks.SecretID).Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "api"}) != nil {
			return nil, fmt.Errorf("token of a service: %w", err)
		}
		clone, _, err := acl.TokenClone(token.AccessorID, "copy", nil)
		if err != nil || clone.SecretID == token.SecretID {
			return nil, fmt.Errorf("token clone: %w", err)
		}
		web := as(clone.SecretID)
		own, _, err := web.ACL().TokenReadSelf(nil)
		if err != nil || own.AccessorID != clone.AccessorID {
			return nil, fmt.Errorf("token self: %w", err)
		}
		tokens, _, err := acl.TokenList(nil)
		if err != nil {
			return nil, fmt.Errorf("token list: %w", err)
		}
		if status, _, err := acl.Replication(nil); err != nil || status.Enabled {
			return nil, fmt.Errorf("replication: %w", err)
		}

		if err := web.Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "web", Address: "10.0.0.7", Port: 80}); err != nil {
			return nil, fmt.Errorf("register: %w", err)
		}
		if err := root.Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "db", Address: "10.0.0.8", Port: 81}); err != nil {
			return nil, fmt.Errorf("register: %w", err)
		}
		denied := web.Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "db"})
		if _, err := web.KV().Put(&api.KVPair{Key: "web/a", Value: []byte("1")}, nil); err != nil {
			return nil, fmt.Errorf("kv: %w", err)
		}
		_, kv := web.KV().Put(&api.KVPair{Key: "db/a"}, nil)
		_, _, stranger := anonymous.KV().Get("web/a", nil)
		services, filtered, err := web.Catalog().Services(nil)
		if err != nil {
			return nil, fmt.Errorf("services: %w", err)
		}
		names := []string{}
		for name := range services {
			names = append(names, name)
		}
		if _, err := acl.TokenDelete(clone.AccessorID, nil); err != nil {
			return nil, fmt.Errorf("token delete: %w", err)
		}
		_, _, gone := web.KV().Get("web/a", nil)
		if _, err := acl.RoleDelete(role.ID, nil); err != nil {
			return nil, fmt.Errorf("role delete: %w", err)
		}
		if _, err := acl.PolicyDelete(policy.ID, nil); err != nil {
			return nil, fmt.Errorf("policy delete: %w", err)
		}
		said := func(err error) string {
			if err == nil {
				err = errors.New("nothing")
			}
			return err.Error()
		}
		return map[string]any{
			"secret": first.SecretID, "policies": len(policies), "tokens": len(tokens), "services": names,
			"filtered": filtered.ResultsFilteredByACLs, "again": said(again), "denied": said(denied), "kv": said(kv),
			"stranger": said(stranger), "gone": said(gone),
		}, nil
	}
}
