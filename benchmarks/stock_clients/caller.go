// A stock client of Go: sends one message at a fixed rate and prints how the calls ended, as JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	_ "google.golang.org/grpc/health"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"
)

type plan struct {
	Targets, Method, Config string
	Body                    []byte
	Rate, Seconds, Timeout  float64
}

type rawBytes struct{}

func (rawBytes) Marshal(value interface{}) ([]byte, error) { return *(value.(*[]byte)), nil }
func (rawBytes) Unmarshal(data []byte, value interface{}) error {
	*(value.(*[]byte)) = append([]byte(nil), data...)
	return nil
}
func (rawBytes) Name() string { return "proto" }

var names = map[string]string{"ResourceExhausted": "RESOURCE_EXHAUSTED", "Unavailable": "UNAVAILABLE",
	"DeadlineExceeded": "DEADLINE_EXCEEDED", "Canceled": "CANCELLED", "InvalidArgument": "INVALID_ARGUMENT"}

func main() {
	var wanted plan
	if err := json.Unmarshal([]byte(os.Args[1]), &wanted); err != nil {
		panic(err)
	}
	addresses := []resolver.Address{}
	for _, one := range strings.Split(wanted.Targets, ",") {
		addresses = append(addresses, resolver.Address{Addr: one})
	}
	found, _ := manual.GenerateAndRegisterManualResolver()
	found.InitialState(resolver.State{Addresses: addresses})
	options := []grpc.DialOption{grpc.WithInsecure(), grpc.WithBlock()}
	if wanted.Config != "" {
		options = append(options, grpc.WithDefaultServiceConfig(wanted.Config))
	}
	channel, err := grpc.Dial(found.Scheme()+":///routers", options...)
	if err != nil {
		panic(err)
	}
	var lock sync.Mutex
	var group sync.WaitGroup
	codes, said, slowest := map[string]int{}, map[string]int{}, 0.0
	ask := func() {
		defer group.Done()
		begun := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(wanted.Timeout*float64(time.Second)))
		defer cancel()
		var answer []byte
		err := channel.Invoke(ctx, wanted.Method, &wanted.Body, &answer, grpc.ForceCodec(rawBytes{}))
		lock.Lock()
		defer lock.Unlock()
		name := status.Code(err).String()
		if spelled, is := names[name]; is {
			name = spelled
		}
		codes[name]++
		if err != nil {
			said[status.Convert(err).Message()]++
		}
		if took := float64(time.Since(begun)) / 1e6; took > slowest {
			slowest = took
		}
	}
	first, total := time.Now(), int(wanted.Rate*wanted.Seconds)
	if total < 1 {
		total = 1
	}
	for number := 0; number < total; number++ {
		time.Sleep(time.Until(first.Add(time.Duration(float64(number) / wanted.Rate * 1e9))))
		group.Add(1)
		go ask()
	}
	group.Wait()
	text, _ := json.Marshal(map[string]interface{}{"codes": codes, "said": said, "slowest_ms": slowest})
	fmt.Println(string(text))
}
