// SPDX-License-Identifier: Apache-2.0

// What the end-to-end recipes of docs/GATE.md run, by the name that it has:
//
//	server ADDR       answers HTTP, and ends on SIGTERM with status 0
//	db ADDR           the same
//	api ADDR DB       the same; asks the db for each answer, and has a worker
//	worker            waits for SIGTERM
//	client-tests URL  asks some times; fails when that is not answered
//
// LEAK=server, db, api or worker: that one leaves a goroutine behind.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
)

const requests = 3

func forget() { <-make(chan int) }

// leaks starts what nobody ends, if it is this one's turn.
func leaks(name string) {
	if os.Getenv("LEAK") == name {
		go forget()
	}
}

func terminated() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	<-c
}

func serve(name, addr string, answer func() error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		log.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" {
				return // who asks whether it is there
			}
			leaks(name)
			if err := answer(); err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
			fmt.Fprintln(w, name)
		})}
	ended := make(chan error)
	go func() { ended <- s.Serve(l) }()
	terminated()
	if err := s.Shutdown(context.Background()); err != nil {
		log.Fatal(err)
	}
	<-ended
}

func get(url string) error {
	t := &http.Transport{DisableKeepAlives: true}
	r, err := (&http.Client{Transport: t}).Get(url)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, r.Status)
	}
	return nil
}

func api(addr, db string) {
	worker := exec.Command("./worker")
	if err := worker.Start(); err != nil {
		log.Fatal(err)
	}
	serve("api", addr, func() error { return get("http://" + db + "/") })
	if err := worker.Process.Signal(syscall.SIGTERM); err != nil {
		log.Fatal(err)
	}
	if err := worker.Wait(); err != nil {
		log.Fatal(err)
	}
}

func main() {
	nothing := func() error { return nil }
	switch name := filepath.Base(os.Args[0]); name {
	case "server", "db":
		serve(name, os.Args[1], nothing)
	case "api":
		api(os.Args[1], os.Args[2])
	case "worker":
		leaks(name)
		terminated()
	case "client-tests":
		for i := 0; i < requests; i++ {
			if err := get(os.Args[1]); err != nil {
				log.Fatal(err)
			}
		}
	default:
		log.Fatalf("who is %s?", name)
	}
}
