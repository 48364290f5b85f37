// Command kubernetes-go puts the unmodified client-go behind one line of JSON per call: typed calls, an informer, leader election.
//
// A line in is {"id":1,"op":"informer",...}; a line out is {"id":1,"ok":...} or {"id":1,"error":"..."}. The end of the
// input ends the process.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

type call struct {
	ID   int64  `json:"id"`
	Op   string `json:"op"`
	Addr string `json:"addr"`
	Name string `json:"name"`
}

var (
	mutex  sync.Mutex
	seen   = map[string]bool{}
	leader = map[string]string{}
	stops  = map[string]context.CancelFunc{}
)

// Protobuf both ways, as CoreDNS, kube-proxy and a cluster's own programs are set up; JSON is what is left without it.
func client(addr string) (*kubernetes.Clientset, error) {
	config := &rest.Config{Host: "http://" + addr, QPS: 100, Burst: 100}
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	return kubernetes.NewForConfig(config)
}

func endpoints(slices []*discoveryv1.EndpointSlice) {
	found := map[string]bool{}
	for _, slice := range slices {
		for _, endpoint := range slice.Endpoints {
			if endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready {
				found[slice.Labels[discoveryv1.LabelServiceName]+" "+endpoint.Addresses[0]] = true
			}
		}
	}
	mutex.Lock()
	seen = found
	mutex.Unlock()
}

// follow keeps the ready endpoints of every slice, as CoreDNS and kube-proxy do.
func follow(addr string) error {
	set, err := client(addr)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(set, 0)
	informer := factory.Discovery().V1().EndpointSlices()
	lister := informer.Lister()
	note := func() {
		all, err := lister.List(labels.Everything())
		if err == nil {
			endpoints(all)
		}
	}
	_, err = informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { note() },
		UpdateFunc: func(any, any) { note() },
		DeleteFunc: func(any) { note() },
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	factory.Start(context.Background().Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("%v did not sync", kind)
		}
	}
	return nil
}

// elect stands for election under a name until it is told to stop.
func elect(addr, name string) error {
	set, err := client(addr)
	if err != nil {
		return err
	}
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Name: "elected", Namespace: "default"},
		Client:     set.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: name},
	}
	ctx, stop := context.WithCancel(context.Background())
	mutex.Lock()
	stops[name] = stop
	mutex.Unlock()
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: 4 * time.Second, RenewDeadline: 3 * time.Second, RetryPeriod: 500 * time.Millisecond,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) {},
			OnStoppedLeading: func() {},
			OnNewLeader: func(identity string) {
				mutex.Lock()
				leader[name] = identity
				mutex.Unlock()
			},
		},
	})
	if err != nil {
		return err
	}
	go elector.Run(ctx)
	return nil
}

// conflict changes one object twice from one version: the second change has to be refused.
func conflict(addr, name string) (any, error) {
	set, err := client(addr)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	maps := set.CoreV1().ConfigMaps("default")
	made, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	first, second := made.DeepCopy(), made.DeepCopy()
	first.Data = map[string]string{"a": "1"}
	second.Data = map[string]string{"a": "2"}
	if _, err := maps.Update(ctx, first, metav1.UpdateOptions{}); err != nil {
		return nil, err
	}
	_, err = maps.Update(ctx, second, metav1.UpdateOptions{})
	again := apierrors.IsConflict(err)
	_, err = maps.Create(ctx, made, metav1.CreateOptions{})
	exists := err != nil
	if err := maps.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return nil, err
	}
	_, err = maps.Get(ctx, name, metav1.GetOptions{})
	return map[string]bool{"conflict": again, "exists": exists, "gone": apierrors.IsNotFound(err)}, nil
}

func do(c call) (any, error) {
	switch c.Op {
	case "conflict":
		return conflict(c.Addr, c.Name)
	case "follow":
		return true, follow(c.Addr)
	case "seen":
		mutex.Lock()
		defer mutex.Unlock()
		all := []string{}
		for endpoint := range seen {
			all = append(all, endpoint)
		}
		sort.Strings(all)
		return all, nil
	case "elect":
		return true, elect(c.Addr, c.Name)
	case "leader":
		mutex.Lock()
		defer mutex.Unlock()
		return leader[c.Name], nil
	case "resign":
		mutex.Lock()
		stop := stops[c.Name]
		mutex.Unlock()
		if stop == nil {
			return nil, fmt.Errorf("%s does not stand", c.Name)
		}
		stop()
		return true, nil
	}
	return nil, fmt.Errorf("there is no %q", c.Op)
}

func main() {
	var out sync.Mutex
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var c call
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			continue
		}
		go func() {
			answer := map[string]any{"id": c.ID}
			ok, err := do(c)
			if err != nil {
				answer["error"] = err.Error()
			} else {
				answer["ok"] = ok
			}
			text, _ := json.Marshal(answer)
			out.Lock()
			fmt.Println(string(text))
			out.Unlock()
		}()
	}
}
