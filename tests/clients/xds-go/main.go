// Command xds-go puts the unmodified grpc-go behind one line of JSON per call: channels on xds:///NAME under load, and the servers
// that are called, over gRPC and over HTTP.
//
// A line in is {"id":1,"op":"load",...}; a line out is {"id":1,"ok":...} or {"id":1,"error":"..."}. The end of the input ends the
// process. The first line, "bootstrap", carries the bootstrap file: the library reads it when a program starts, so the program starts anew.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	_ "google.golang.org/grpc/xds"
)

const variable = "GRPC_XDS_BOOTSTRAP_CONFIG"

type call struct {
	ID        int64           `json:"id"`
	Op        string          `json:"op"`
	Addr      string          `json:"addr"`
	Target    string          `json:"target"`
	Host      string          `json:"host"`
	Bootstrap json.RawMessage `json:"bootstrap"`
	Workers   int             `json:"workers"`
}

// backend answers the health check of gRPC, and any request of HTTP, with its own address.
type backend struct {
	healthpb.UnimplementedHealthServer
	name string
}

func (b *backend) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if err := grpc.SetHeader(ctx, metadata.Pairs("backend", b.name)); err != nil {
		return nil, err
	}
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}

func (b *backend) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("backend", b.name)
	fmt.Fprintln(w, "fine")
}

var (
	mutex sync.Mutex
	stops = map[string]func(){}
	loads = map[string]*load{}
)

func serveGrpc() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := grpc.NewServer()
	name := listener.Addr().String()
	healthpb.RegisterHealthServer(server, &backend{name: name})
	go server.Serve(listener)
	stops[name] = server.GracefulStop
	return name, nil
}

func serveHTTP() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	name := listener.Addr().String()
	server := &http.Server{Handler: &backend{name: name}}
	go server.Serve(listener)
	stops[name] = func() { server.Shutdown(context.Background()) }
	return name, nil
}

// load calls without a pause, and counts who answered.
type load struct {
	mutex    sync.Mutex
	counts   map[string]int
	failures []string
	stop     context.CancelFunc
	done     sync.WaitGroup
}

func (l *load) note(name string, err error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if err != nil {
		if len(l.failures) < 20 {
			l.failures = append(l.failures, err.Error())
		}
		return
	}
	l.counts[name]++
}

func (l *load) take() any {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	taken := map[string]any{"counts": l.counts, "failures": l.failures}
	l.counts, l.failures = map[string]int{}, []string{}
	return taken
}

func begin(name string, workers int, once func(context.Context) (string, error)) {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{counts: map[string]int{}, failures: []string{}, stop: cancel}
	for range max(workers, 1) {
		l.done.Add(1)
		go func() {
			defer l.done.Done()
			for ctx.Err() == nil {
				// What is under way at the end is finished, not broken off.
				limited, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				who, err := once(limited)
				cancel()
				l.note(who, err)
				time.Sleep(2 * time.Millisecond)
			}
		}()
	}
	loads[name] = l
}

func overGrpc(target string) (func(context.Context) (string, error), error) {
	channel, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	client := healthpb.NewHealthClient(channel)
	return func(ctx context.Context) (string, error) {
		var header metadata.MD
		if _, err := client.Check(ctx, &healthpb.HealthCheckRequest{}, grpc.Header(&header)); err != nil {
			return "", err
		}
		if names := header.Get("backend"); len(names) > 0 {
			return names[0], nil
		}
		return "", fmt.Errorf("an answer of nobody")
	}, nil
}

// overHTTP asks a proxy for a host.
func overHTTP(addr, host string) func(context.Context) (string, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	return func(ctx context.Context) (string, error) {
		request, err := http.NewRequestWithContext(ctx, "GET", "http://"+addr+"/", nil)
		if err != nil {
			return "", err
		}
		request.Host = host
		response, err := client.Do(request)
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			return "", err
		}
		if response.StatusCode != 200 {
			return "", fmt.Errorf("%s: %s", response.Status, body)
		}
		return response.Header.Get("backend"), nil
	}
}

func answer(c call) (any, error) {
	mutex.Lock()
	defer mutex.Unlock()
	switch c.Op {
	case "backend":
		return serveGrpc()
	case "backend.http":
		return serveHTTP()
	case "stop":
		stop := stops[c.Addr]
		if stop == nil {
			return nil, fmt.Errorf("no backend %s", c.Addr)
		}
		delete(stops, c.Addr)
		stop()
		return true, nil
	case "once":
		once, err := overGrpc(c.Target)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		return once(ctx)
	case "load":
		once, err := overGrpc(c.Target)
		if err != nil {
			return nil, err
		}
		begin(c.Target, c.Workers, once)
		return true, nil
	case "load.http":
		begin(c.Target, c.Workers, overHTTP(c.Addr, c.Host))
		return true, nil
	case "take":
		l := loads[c.Target]
		if l == nil {
			return nil, fmt.Errorf("no load on %s", c.Target)
		}
		return l.take(), nil
	case "end":
		l := loads[c.Target]
		if l == nil {
			return nil, fmt.Errorf("no load on %s", c.Target)
		}
		delete(loads, c.Target)
		l.stop()
		l.done.Wait()
		return l.take(), nil
	}
	return nil, fmt.Errorf("no operation %q", c.Op)
}

// anew has the program start again with the bootstrap file in its environment.
func anew(bootstrap json.RawMessage) error {
	own, err := os.Executable()
	if err != nil {
		return err
	}
	environment := append(os.Environ(), variable+"="+string(bootstrap))
	return syscall.Exec(own, os.Args, environment)
}

func main() {
	out := json.NewEncoder(os.Stdout)
	var writing sync.Mutex
	reply := func(id int64, value any, err error) {
		writing.Lock()
		defer writing.Unlock()
		if err != nil {
			out.Encode(map[string]any{"id": id, "error": err.Error()})
			return
		}
		out.Encode(map[string]any{"id": id, "ok": value})
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c call
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			continue
		}
		if c.Op == "bootstrap" {
			// The caller waits for this answer before its next line.
			reply(c.ID, true, nil)
			if err := anew(c.Bootstrap); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
		go func() {
			value, err := answer(c)
			reply(c.ID, value, err)
		}()
	}
}
