// SPDX-License-Identifier: Apache-2.0

// redis subscribes to channels of real redis servers and waits for messages,
// as services do for cache invalidation: without a deadline, and with keepalive
// off. It speaks RESP by hand.
//
// usage: redis ADDR N [ADDR N]...
//
// N goroutines per server. When all are subscribed one JSON line tells of each
// server who they are: [{"addr","readers":[{"id","local"}]}]. Then commands on
// stdin, each answered by one line:
//
//	status           [{"addr","waiting","messages","ends":{"why":count}}]
//	publish I TEXT   {"receivers"}: through a connection of its own
//	fatal I          the program ends when a reader of server I is cut off
//	reconnect I J    readers of server I that lose their connection go on at
//	                 server J instead of returning
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

type reader struct {
	ID    string `json:"id"`
	Local string `json:"local"`
}

type server struct {
	Addr     string         `json:"addr"`
	Waiting  int            `json:"waiting"`
	Messages int            `json:"messages"`
	Ends     map[string]int `json:"ends"`
	instead  *server
	fatal    bool
}

var (
	lock    sync.Mutex
	servers []*server
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "redis:", err)
		os.Exit(1)
	}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	check(err)
	return n
}

func goid() string {
	var buf [64]byte
	return strings.Fields(string(buf[:runtime.Stack(buf[:], false)]))[1]
}

// The server may just have been started.
func dial(addr string) net.Conn {
	d := net.Dialer{KeepAlive: -1, Timeout: 5 * time.Second}
	for i := 0; ; i++ {
		c, err := d.Dial("tcp", addr)
		if err == nil {
			return c
		}
		if i == 200 {
			check(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func send(c net.Conn, words ...string) {
	text := fmt.Sprintf("*%d\r\n", len(words))
	for _, w := range words {
		text += fmt.Sprintf("$%d\r\n%s\r\n", len(w), w)
	}
	_, err := c.Write([]byte(text))
	check(err)
}

// One reply: a line, or an array of bulk strings and integers.
func readReply(r *bufio.Reader) ([]string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimRight(line, "\r\n")
	if !strings.HasPrefix(line, "*") {
		return []string{line}, nil
	}
	var words []string
	for n := number(line[1:]); n > 0; n-- {
		head, err := r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(head, "$") {
			if head, err = r.ReadString('\n'); err != nil {
				return nil, err
			}
		}
		words = append(words, strings.TrimRight(head, "\r\n"))
	}
	return words, nil
}

func subscribe(s *server) (net.Conn, *bufio.Reader) {
	c := dial(s.Addr)
	r := bufio.NewReader(c)
	send(c, "SUBSCRIBE", "news")
	words, err := readReply(r)
	check(err)
	if len(words) != 3 || words[0] != "subscribe" {
		check(fmt.Errorf("%q: no answer to SUBSCRIBE", words))
	}
	lock.Lock()
	s.Waiting++
	lock.Unlock()
	return c, r
}

// Wait for messages until the connection ends; returns where to go on.
func receive(s *server, c net.Conn, r *bufio.Reader) *server {
	defer c.Close()
	for {
		_, err := readReply(r)
		lock.Lock()
		if err != nil {
			if s.fatal {
				check(err)
			}
			why := err.Error()
			s.Waiting--
			s.Ends[why[strings.LastIndex(why, ": ")+1:]]++
			next := s.instead
			lock.Unlock()
			return next
		}
		s.Messages++
		lock.Unlock()
	}
}

func follow(s *server, ready chan<- reader) {
	c, r := subscribe(s)
	ready <- reader{goid(), c.LocalAddr().String()}
	for s = receive(s, c, r); s != nil; s = receive(s, c, r) {
		c, r = subscribe(s)
	}
}

func command(words []string) {
	lock.Lock()
	defer lock.Unlock()
	switch words[0] {
	case "status":
		check(json.NewEncoder(os.Stdout).Encode(servers))
	case "publish":
		c := dial(servers[number(words[1])].Addr)
		defer c.Close()
		send(c, "PUBLISH", "news", words[2])
		reply, err := readReply(bufio.NewReader(c))
		check(err)
		fmt.Printf(`{"receivers":%s}`+"\n", strings.TrimPrefix(reply[0], ":"))
	case "fatal":
		servers[number(words[1])].fatal = true
		fmt.Println("{}")
	case "reconnect":
		servers[number(words[1])].instead = servers[number(words[2])]
		fmt.Println("{}")
	default:
		check(fmt.Errorf("%q: no such command", words[0]))
	}
}

func main() {
	type group struct {
		Addr    string   `json:"addr"`
		Readers []reader `json:"readers"`
	}
	var groups []group
	for i := 1; i+1 < len(os.Args); i += 2 {
		s := &server{Addr: os.Args[i], Ends: map[string]int{}}
		servers = append(servers, s)
		g := group{Addr: s.Addr}
		ready := make(chan reader)
		for n := number(os.Args[i+1]); n > 0; n-- {
			go follow(s, ready)
			g.Readers = append(g.Readers, <-ready)
		}
		groups = append(groups, g)
	}
	check(json.NewEncoder(os.Stdout).Encode(groups))
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		if words := strings.Fields(in.Text()); len(words) > 0 {
			command(words)
		}
	}
}
