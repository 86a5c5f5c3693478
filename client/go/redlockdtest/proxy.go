package redlockdtest

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	chunk  = 32 << 10 // bytes that are read at once
	chunks = 256      // that one direction of a connection holds back before it stops reading
)

// proxy passes TCP connections on 127.0.0.1 on to a Unix socket.
type proxy struct {
	listener net.Listener
	target   string

	mutex   sync.Mutex
	delay   time.Duration
	passing chan struct{} // closed while bytes pass
	open    map[net.Conn]struct{}
	closed  bool
}

func newProxy(target string) (*proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("redlockdtest: %w", err)
	}
	p := &proxy{listener: listener, target: target, passing: make(chan struct{}), open: map[net.Conn]struct{}{}}
	close(p.passing)
	go p.accept()
	return p, nil
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		if p.add(client) {
			go p.serve(client)
		}
	}
}

// add returns false, and closes the connection, if the proxy is closed.
func (p *proxy) add(connection net.Conn) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.closed {
		_ = connection.Close()
		return false
	}
	p.open[connection] = struct{}{}
	return true
}

func (p *proxy) remove(connection net.Conn) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	_ = connection.Close()
	delete(p.open, connection)
}

func (p *proxy) state() (delay time.Duration, passing chan struct{}) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.delay, p.passing
}

func (p *proxy) serve(client net.Conn) {
	defer p.remove(client)
	_, passing := p.state()
	<-passing
	daemon, err := net.Dial("unix", p.target)
	if err != nil {
		resetOnClose(client)
		return
	}
	if !p.add(daemon) {
		return
	}
	defer p.remove(daemon)
	ended := make(chan struct{}, 2)
	go func() { p.pass(daemon, client); ended <- struct{}{} }()
	go func() { p.pass(client, daemon); ended <- struct{}{} }()
	<-ended
}

// pass passes bytes on, late, until from ends.
func (p *proxy) pass(to, from net.Conn) {
	type piece struct {
		bytes []byte
		due   time.Time
	}
	pieces, stop := make(chan piece, chunks), make(chan struct{})
	defer close(stop)
	go func() {
		defer close(pieces)
		for {
			buffer := make([]byte, chunk)
			n, err := from.Read(buffer)
			delay, _ := p.state()
			select {
			case pieces <- piece{buffer[:n], time.Now().Add(delay)}:
			case <-stop:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	for next := range pieces {
		time.Sleep(time.Until(next.due))
		_, passing := p.state()
		<-passing
		if _, err := to.Write(next.bytes); err != nil {
			return
		}
	}
}

func (p *proxy) setDelay(delay time.Duration) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.delay = delay
}

func (p *proxy) cut() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	select {
	case <-p.passing:
		p.passing = make(chan struct{})
	default: // cut already
	}
}

func (p *proxy) mend() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.delay = 0
	select {
	case <-p.passing:
	default:
		close(p.passing)
	}
}

func (p *proxy) reset() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for connection := range p.open {
		resetOnClose(connection)
		_ = connection.Close()
	}
}

func (p *proxy) close() {
	p.mend()
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.closed = true
	_ = p.listener.Close()
	for connection := range p.open {
		_ = connection.Close()
	}
}

func resetOnClose(connection net.Conn) {
	if tcp, ok := connection.(*net.TCPConn); ok {
		if err := tcp.SetLinger(0); err != nil && !errors.Is(err, net.ErrClosed) {
			panic(err)
		}
	}
}
