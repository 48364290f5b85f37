// Command clients puts the unmodified Go clients of Consul and etcd behind one line of JSON per call.
//
// A line in is {"id":1,"op":"consul.health",...}; a line out is {"id":1,"ok":...} or {"id":1,"error":"..."}.
// Calls run side by side, so answers may come in any order. The end of the input ends the process, without
// deregistering anything: the caller decides what is tidied up.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync"
)

// call is one request with its arguments still in JSON.
type call struct {
	ID   int64  `json:"id"`
	Op   string `json:"op"`
	Addr string `json:"addr"`
	raw  []byte
}

// into decodes the arguments of the call.
func (c call) into(arguments any) error { return json.Unmarshal(c.raw, arguments) }

type operation func(call) (any, error)

func main() {
	operations := map[string]operation{}
	consulOperations(operations)
	aclOperations(operations)
	tlsOperations(operations)
	etcdOperations(operations)
	frameworkOperations(operations)
	refusedOperations(operations)

	out := json.NewEncoder(os.Stdout)
	var mutex sync.Mutex
	answer := func(id int64, ok any, err error) {
		mutex.Lock()
		defer mutex.Unlock()
		if err != nil {
			_ = out.Encode(map[string]any{"id": id, "error": err.Error()})
			return
		}
		_ = out.Encode(map[string]any{"id": id, "ok": ok})
	}

	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(make([]byte, 1<<20), 64<<20)
	for lines.Scan() {
		c := call{raw: append([]byte(nil), lines.Bytes()...)}
		if err := json.Unmarshal(c.raw, &c); err != nil {
			answer(0, nil, fmt.Errorf("not a call: %w", err))
			continue
		}
		op, known := operations[c.Op]
		if !known {
			answer(c.ID, nil, fmt.Errorf("no operation %q", c.Op))
			continue
		}
		go func() {
			ok, err := op(c)
			answer(c.ID, ok, err)
		}()
	}
}

// nonNil keeps an empty list `[]` and not `null` for the reader.
func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// once makes one value per key and keeps it: clients are shared by all calls to one address.
type once[T any] struct {
	mutex sync.Mutex
	made  map[string]T
}

func (o *once[T]) get(key string, make_ func() (T, error)) (T, error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if value, ok := o.made[key]; ok {
		return value, nil
	}
	value, err := make_()
	if err != nil {
		return value, err
	}
	if o.made == nil {
		o.made = map[string]T{}
	}
	o.made[key] = value
	return value, nil
}

func (o *once[T]) drop(key string) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	delete(o.made, key)
}
