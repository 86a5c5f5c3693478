package redlockdtest

import (
	"bytes"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A daemon that does not end by itself is killed after this time.
const endTimeout = 15 * time.Second

// process is a child. It ends with this program, even if that is killed (on Linux).
type process struct {
	command *exec.Cmd
	output  *limitedBuffer
	ended   chan struct{}
}

func startProcess(program string, args ...string) (*process, error) {
	p := &process{command: exec.Command(program, args...), output: &limitedBuffer{}, ended: make(chan struct{})}
	p.command.Stdout, p.command.Stderr = p.output, p.output
	p.command.SysProcAttr = endsWithThisProgram()
	started := make(chan error)
	go func() {
		// The system ends the child when the thread ends that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.command.Start()
		started <- err
		if err == nil {
			_ = p.command.Wait()
			close(p.ended)
		}
	}()
	return p, <-started
}

func (p *process) end(by syscall.Signal) {
	_ = p.command.Process.Signal(by)
	select {
	case <-p.ended:
	case <-time.After(endTimeout):
		_ = p.command.Process.Kill()
		<-p.ended
	}
}

// said returns the beginning of what the process has written.
func (p *process) said() string { return strings.TrimSpace(p.output.String()) }

// limitedBuffer keeps the first 4 KiB.
type limitedBuffer struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (b *limitedBuffer) Write(text []byte) (int, error) {
	const most = 4096
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.text.Write(text[:min(len(text), most-min(b.text.Len(), most))])
	return len(text), nil
}

func (b *limitedBuffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.String()
}
