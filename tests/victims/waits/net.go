// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net"
	"os"
	"syscall"
	"time"
)

type hasRaw interface {
	SyscallConn() (syscall.RawConn, error)
}

func fdOf(c interface{}) int {
	rc, err := c.(hasRaw).SyscallConn()
	must(err)
	fd := -1
	must(rc.Control(func(f uintptr) { fd = int(f) }))
	return fd
}

// pair is a connection over loopback: both ends stay in this process.
func pair(network, addr string) (net.Conn, net.Conn) {
	l, err := net.Listen(network, addr)
	must(err)
	near, err := net.Dial(network, l.Addr().String())
	must(err)
	far, err := l.Accept()
	must(err)
	must(l.Close())
	return near, far
}

var keep []interface{} // far ends, so that no finalizer closes them

func readerNoDeadline(c net.Conn) {
	note("read", "read", "fd", fdOf(c), "read_deadline", 0,
		"write_deadline", 0, "local", c.LocalAddr().String(),
		"remote", c.RemoteAddr().String())
	c.Read(make([]byte, 16))
}

func readerDeadline(c net.Conn, d time.Duration) {
	must(c.SetReadDeadline(time.Now().Add(d)))
	note("read-deadline", "read", "fd", fdOf(c),
		"read_deadline", monotonic()+int64(d), "write_deadline", 0)
	c.Read(make([]byte, 16))
}

func readerBothDeadlines(c net.Conn, d time.Duration) {
	must(c.SetDeadline(time.Now().Add(d)))
	due := monotonic() + int64(d)
	note("read-both-deadlines", "read", "fd", fdOf(c),
		"read_deadline", due, "write_deadline", due)
	c.Read(make([]byte, 16))
}

func writer(c net.Conn, deadline time.Duration) {
	if deadline == 0 {
		note("write", "write", "fd", fdOf(c),
			"read_deadline", 0, "write_deadline", 0)
	} else {
		must(c.SetWriteDeadline(time.Now().Add(deadline)))
		note("write-deadline", "write", "fd", fdOf(c),
			"read_deadline", 0,
			"write_deadline", monotonic()+int64(deadline))
	}
	c.Write(make([]byte, 64<<20))
}

func accepter(l *net.TCPListener) {
	note("accept", "accept", "fd", fdOf(l), "read_deadline", 0)
	l.Accept()
}

func accepterDeadline(l *net.TCPListener, d time.Duration) {
	must(l.SetDeadline(time.Now().Add(d)))
	note("accept-deadline", "accept", "fd", fdOf(l),
		"read_deadline", monotonic()+int64(d))
	l.AcceptTCP()
}

// connecter dials a listener whose queue is full, so that its SYN is dropped.
func connecter(addr string) {
	d := net.Dialer{}
	first := true
	d.Control = func(_, _ string, rc syscall.RawConn) error {
		return rc.Control(func(fd uintptr) {
			if first {
				note("connect", "connect", "fd", int(fd))
				first = false
			}
		})
	}
	c, err := d.DialContext(context.Background(), "tcp4", addr)
	keep = append(keep, c, err)
}

// fullListener has no room in its queue and never accepts.
func fullListener() string {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	must(err)
	must(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(syscall.Listen(fd, 0))
	sa, err := syscall.Getsockname(fd)
	must(err)
	addr := net.TCPAddr{IP: net.IPv4(127, 0, 0, 1),
		Port: sa.(*syscall.SockaddrInet4).Port}
	for i := 0; i < 8; i++ {
		c, err := net.DialTimeout("tcp4", addr.String(),
			300*time.Millisecond)
		if err != nil {
			break
		}
		keep = append(keep, c)
	}
	return addr.String()
}

func udpReader(c *net.UDPConn) {
	note("udp-read", "read", "fd", fdOf(c), "read_deadline", 0)
	c.ReadFromUDP(make([]byte, 16))
}

func pipeReader(f *os.File) {
	note("pipe-read", "read", "fd", fdOf(f), "read_deadline", 0)
	f.Read(make([]byte, 16))
}

func rawReader(c net.Conn) {
	rc, err := c.(hasRaw).SyscallConn()
	must(err)
	note("rawconn-read", "read", "fd", fdOf(c), "read_deadline", 0)
	rc.Read(func(uintptr) bool { return false })
}

// A reader and a writer on one connection: one poll record, two goroutines.
func duplexReader(c net.Conn) {
	note("duplex-read", "read", "fd", fdOf(c))
	c.Read(make([]byte, 16))
}

func duplexWriter(c net.Conn) {
	note("duplex-write", "write", "fd", fdOf(c))
	c.Write(make([]byte, 64<<20))
}

func syscallPipe(fd int) {
	note("syscall-pipe", "syscall", "fd", fd)
	syscall.Read(fd, make([]byte, 16))
}

func syscallSocket(fd int) {
	note("syscall-read", "syscall", "fd", fd)
	syscall.Read(fd, make([]byte, 16))
}

func syscallRecv(fd int) {
	note("syscall-recvfrom", "syscall", "fd", fd)
	syscall.Recvfrom(fd, make([]byte, 16), 0)
}

func syscallAccept(fd int) {
	note("syscall-accept", "syscall", "fd", fd)
	syscall.Accept(fd)
}

// blockingSocket is connected over loopback and in blocking mode.
func blockingSocket() int {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	must(err)
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	must(err)
	must(syscall.Connect(fd, &syscall.SockaddrInet4{
		Addr: [4]byte{127, 0, 0, 1},
		Port: l.Addr().(*net.TCPAddr).Port}))
	c, err := l.Accept()
	must(err)
	must(l.Close())
	keep = append(keep, c)
	return fd
}

func blockingListener() int {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	must(err)
	must(syscall.Listen(fd, 4))
	return fd
}

func near(network, addr string) net.Conn {
	a, b := pair(network, addr)
	keep = append(keep, b)
	return a
}

func listener(network, addr string) *net.TCPListener {
	l, err := net.Listen(network, addr)
	must(err)
	return l.(*net.TCPListener)
}

func startNet() {
	expect(13)
	go readerNoDeadline(near("tcp4", "127.0.0.1:0"))
	go readerDeadline(near("tcp4", "127.0.0.1:0"), time.Hour)
	go readerBothDeadlines(near("tcp4", "127.0.0.1:0"), 2*time.Hour)
	go writer(near("tcp4", "127.0.0.1:0"), 0)
	go writer(near("tcp4", "127.0.0.1:0"), 3*time.Hour)
	go accepter(listener("tcp4", "127.0.0.1:0"))
	go accepterDeadline(listener("tcp4", "127.0.0.1:0"), time.Hour)
	go connecter(fullListener())
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(err)
	go udpReader(udp)
	r, w, err := os.Pipe()
	must(err)
	keep = append(keep, w)
	go pipeReader(r)
	go rawReader(near("tcp4", "127.0.0.1:0"))
	duplex := near("tcp4", "127.0.0.1:0")
	go duplexReader(duplex)
	go duplexWriter(duplex)

	expect(4)
	var p [2]int
	must(syscall.Pipe(p[:]))
	go syscallPipe(p[0])
	go syscallSocket(blockingSocket())
	go syscallRecv(blockingSocket())
	go syscallAccept(blockingListener())

	if l, err := net.Listen("tcp6", "[::1]:0"); err == nil {
		l.Close()
		expect(2)
		go readerNoDeadline(near("tcp6", "[::1]:0"))
		go accepter(listener("tcp", ":0"))
	}
}
