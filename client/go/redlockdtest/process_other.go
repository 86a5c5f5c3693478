//go:build !linux

package redlockdtest

import "syscall"

func endsWithThisProgram() *syscall.SysProcAttr { return nil }
