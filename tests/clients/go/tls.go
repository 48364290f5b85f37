package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"time"

	"github.com/hashicorp/consul/api"
	clientv3 "go.etcd.io/etcd/client/v3"

	"go.etcd.io/etcd/client/pkg/v3/transport"
)

// tlsOperations puts one value and reads it again through a port that speaks TLS.
func tlsOperations(operations map[string]operation) {
	type files struct {
		CA, Cert, Key, Server string
	}
	operations["consul.tls"] = func(c call) (any, error) {
		var a files
		if err := c.into(&a); err != nil {
			return nil, err
		}
		config := api.DefaultConfig()
		config.Address, config.Scheme = c.Addr, "https"
		config.TLSConfig = api.TLSConfig{Address: a.Server, CAFile: a.CA, CertFile: a.Cert, KeyFile: a.Key}
		client, err := api.NewClient(config)
		if err != nil {
			return nil, err
		}
		if _, err := client.KV().Put(&api.KVPair{Key: "tls", Value: []byte("secure")}, nil); err != nil {
			return nil, err
		}
		pair, _, err := client.KV().Get("tls", nil)
		if err != nil {
			return nil, err
		}
		return string(pair.Value), nil
	}
	operations["etcd.tls"] = func(c call) (any, error) {
		var a files
		if err := c.into(&a); err != nil {
			return nil, err
		}
		info := transport.TLSInfo{TrustedCAFile: a.CA, CertFile: a.Cert, KeyFile: a.Key}
		config, err := info.ClientConfig()
		if err != nil {
			return nil, err
		}
		// The client takes the endpoint for the server's name, and the certificates of these tests name no address.
		config.InsecureSkipVerify = true
		config.VerifyConnection = func(state tls.ConnectionState) error {
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: config.RootCAs, DNSName: a.Server})
			return err
		}
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{"https://" + c.Addr}, TLS: config, DialTimeout: 10 * time.Second})
		if err != nil {
			return nil, err
		}
		defer client.Close()
		within, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if _, err := client.Put(within, "tls", "secure"); err != nil {
			return nil, err
		}
		answer, err := client.Get(within, "tls")
		if err != nil {
			return nil, err
		}
		return string(answer.Kvs[0].Value), nil
	}
}
