package redlockd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// defaultOwner returns HOST/PID/PROGRAM, cut to the length of a label.
func defaultOwner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return cutLabel(fmt.Sprintf("%s/%d/%s", host, os.Getpid(), filepath.Base(os.Args[0])))
}

// cutLabel makes a valid label of any text.
func cutLabel(text string) string {
	text = strings.ToValidUTF8(text, "?")
	if len(text) <= mostLabel {
		return text
	}
	end := mostLabel
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}
