package redlockdtest

import "syscall"

func endsWithThisProgram() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}
