//go:build !etcd34

package main

import (
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

type (
	// Client is etcd's client.
	Client = clientv3.Client
	// Config is its configuration.
	Config = clientv3.Config
)

var (
	connect           = clientv3.New
	compare           = clientv3.Compare
	value             = clientv3.Value
	opPut             = clientv3.OpPut
	opGet             = clientv3.OpGet
	opDelete          = clientv3.OpDelete
	withAttachedKeys  = clientv3.WithAttachedKeys
	withCountOnly     = clientv3.WithCountOnly
	withCreatedNotify = clientv3.WithCreatedNotify
	withLease         = clientv3.WithLease
	withPrefix        = clientv3.WithPrefix
	withPrevKV        = clientv3.WithPrevKV

	newSession  = concurrency.NewSession
	newMutex    = concurrency.NewMutex
	newElection = concurrency.NewElection
)
