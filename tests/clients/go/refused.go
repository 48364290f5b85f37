package main

import (
	"bytes"
	"net/http"
)

// refusedOperations sends bodies that the server does not take. Each goes out on a connection of its own; whatever is not an
// answer, such as a broken pipe, is the error of the call.
func refusedOperations(operations map[string]operation) {
	operations["http.refused"] = func(c call) (any, error) {
		var a struct {
			Path, Host  string
			Size, Times int
		}
		if err := c.into(&a); err != nil {
			return nil, err
		}
		body := make([]byte, a.Size)
		statuses := map[int]int{}
		for range a.Times {
			request, err := http.NewRequest(http.MethodPut, "http://"+c.Addr+a.Path, bytes.NewReader(body))
			if err != nil {
				return nil, err
			}
			request.Host = a.Host
			transport := &http.Transport{}
			answer, err := (&http.Client{Transport: transport}).Do(request)
			if err != nil {
				return nil, err
			}
			answer.Body.Close()
			transport.CloseIdleConnections()
			statuses[answer.StatusCode]++
		}
		return statuses, nil
	}
}
