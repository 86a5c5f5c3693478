package redlockdtest

import "testing"

func TestTheNamesOfNodesBecomeAddresses(t *testing.T) {
	for _, name := range []string{"unix:/tmp/node.sock", "unix:///tmp/node.sock"} {
		if address := nodeAddress(name); address != "unix:///tmp/node.sock" {
			t.Errorf("%s became %s", name, address)
		}
	}
}
