// Command nacos-go puts the unmodified Go client of Nacos behind one line of JSON per call.
//
// A line in is {"id":1,"op":"register",...}; a line out is {"id":1,"ok":...} or {"id":1,"error":"..."}. The end of the
// input ends the process without deregistering anything.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sort"
	"strconv"
	"sync"

	"github.com/nacos-group/nacos-sdk-go/v2/clients"
	"github.com/nacos-group/nacos-sdk-go/v2/clients/config_client"
	"github.com/nacos-group/nacos-sdk-go/v2/clients/naming_client"
	"github.com/nacos-group/nacos-sdk-go/v2/common/constant"
	"github.com/nacos-group/nacos-sdk-go/v2/model"
	"github.com/nacos-group/nacos-sdk-go/v2/vo"
)

type call struct {
	ID      int64             `json:"id"`
	Op      string            `json:"op"`
	Addr    string            `json:"addr"`
	Service string            `json:"service"`
	Group   string            `json:"group"`
	IP      string            `json:"ip"`
	Port    uint64            `json:"port"`
	Meta    map[string]string `json:"metadata"`
	DataID  string            `json:"data"`
	Content string            `json:"content"`
}

var (
	mutex   sync.Mutex
	naming  = map[string]naming_client.INamingClient{}
	configs = map[string]config_client.IConfigClient{}
	seen    = map[string][]string{}
	heard   = map[string][]string{}
)

func param(addr string) (vo.NacosClientParam, error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return vo.NacosClientParam{}, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return vo.NacosClientParam{}, err
	}
	folder, err := os.MkdirTemp("", "nacos-go")
	if err != nil {
		return vo.NacosClientParam{}, err
	}
	client := constant.NewClientConfig(
		constant.WithNotLoadCacheAtStart(true), constant.WithLogDir(folder), constant.WithCacheDir(folder),
		constant.WithLogLevel("error"), constant.WithUsername("nacos"), constant.WithPassword("nacos"),
	)
	return vo.NacosClientParam{
		ClientConfig:  client,
		ServerConfigs: []constant.ServerConfig{*constant.NewServerConfig(host, port, constant.WithContextPath("/nacos"))},
	}, nil
}

func namingAt(addr string) (naming_client.INamingClient, error) {
	mutex.Lock()
	defer mutex.Unlock()
	if made, known := naming[addr]; known {
		return made, nil
	}
	p, err := param(addr)
	if err != nil {
		return nil, err
	}
	made, err := clients.NewNamingClient(p)
	if err == nil {
		naming[addr] = made
	}
	return made, err
}

func configAt(addr string) (config_client.IConfigClient, error) {
	mutex.Lock()
	defer mutex.Unlock()
	if made, known := configs[addr]; known {
		return made, nil
	}
	p, err := param(addr)
	if err != nil {
		return nil, err
	}
	made, err := clients.NewConfigClient(p)
	if err == nil {
		configs[addr] = made
	}
	return made, err
}

func hosts(instances []model.Instance) []string {
	all := []string{}
	for _, it := range instances {
		if it.Enable && it.Healthy {
			all = append(all, fmt.Sprintf("%s:%d", it.Ip, it.Port))
		}
	}
	sort.Strings(all)
	return all
}

func answer(c call) (any, error) {
	switch c.Op {
	case "register", "deregister", "list", "subscribe", "services":
		client, err := namingAt(c.Addr)
		if err != nil {
			return nil, err
		}
		return name(client, c)
	case "publish", "get", "remove", "listen":
		client, err := configAt(c.Addr)
		if err != nil {
			return nil, err
		}
		return configure(client, c)
	case "seen":
		mutex.Lock()
		defer mutex.Unlock()
		return seen[c.Service], nil
	case "heard":
		mutex.Lock()
		defer mutex.Unlock()
		return heard[c.DataID], nil
	}
	return nil, fmt.Errorf("no operation %q", c.Op)
}

func name(client naming_client.INamingClient, c call) (any, error) {
	switch c.Op {
	case "register":
		return client.RegisterInstance(vo.RegisterInstanceParam{
			Ip: c.IP, Port: c.Port, Weight: 1, Enable: true, Healthy: true, Ephemeral: true,
			ServiceName: c.Service, GroupName: c.Group, Metadata: c.Meta,
		})
	case "deregister":
		return client.DeregisterInstance(vo.DeregisterInstanceParam{
			Ip: c.IP, Port: c.Port, ServiceName: c.Service, GroupName: c.Group, Ephemeral: true,
		})
	case "list":
		all, err := client.SelectAllInstances(vo.SelectAllInstancesParam{ServiceName: c.Service, GroupName: c.Group})
		if err != nil && err.Error() == "instance list is empty!" {
			return []string{}, nil
		}
		return hosts(all), err
	case "services":
		list, err := client.GetAllServicesInfo(vo.GetAllServiceInfoParam{PageNo: 1, PageSize: 100, GroupName: c.Group})
		return list.Doms, err
	default:
		return true, client.Subscribe(&vo.SubscribeParam{
			ServiceName: c.Service, GroupName: c.Group,
			SubscribeCallback: func(all []model.Instance, err error) {
				mutex.Lock()
				defer mutex.Unlock()
				if err == nil || len(all) == 0 {
					seen[c.Service] = hosts(all)
				}
			},
		})
	}
}

func configure(client config_client.IConfigClient, c call) (any, error) {
	p := vo.ConfigParam{DataId: c.DataID, Group: c.Group, Content: c.Content}
	switch c.Op {
	case "publish":
		return client.PublishConfig(p)
	case "get":
		return client.GetConfig(p)
	case "remove":
		return client.DeleteConfig(p)
	default:
		p.OnChange = func(_, _, _, data string) {
			mutex.Lock()
			defer mutex.Unlock()
			heard[c.DataID] = append(heard[c.DataID], data)
		}
		return true, client.ListenConfig(p)
	}
}

func main() {
	// Libraries may print: standard output belongs to the answers.
	stdout := os.Stdout
	os.Stdout = os.Stderr
	out := json.NewEncoder(stdout)
	var writing sync.Mutex
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var c call
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			fmt.Fprintln(os.Stderr, err)
			continue
		}
		go func() {
			ok, err := answer(c)
			writing.Lock()
			defer writing.Unlock()
			if err != nil {
				_ = out.Encode(map[string]any{"id": c.ID, "error": err.Error()})
				return
			}
			_ = out.Encode(map[string]any{"id": c.ID, "ok": ok})
		}()
	}
}
