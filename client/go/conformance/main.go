// Runs ../../conformance/scenarios.json. Its README describes the steps.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

type scenario struct {
	Name, Owner string
	Grace       float64
	Steps       []step
}

func main() {
	text, err := os.ReadFile(os.Getenv("SCENARIOS"))
	if err != nil {
		panic(err)
	}
	var file struct{ Scenarios []scenario }
	if err := json.Unmarshal(text, &file); err != nil {
		panic(err)
	}
	failed := false
	for number, scenario := range file.Scenarios {
		r := newRunner(scenario, fmt.Sprintf("%sgo/%d/", os.Getenv("PREFIX"), number))
		verdict := "ok      " + scenario.Name
		for i, s := range scenario.Steps {
			if err := r.carryOut(s); err != nil {
				failed = true
				verdict = fmt.Sprintf("FAILED  %s: step %d: %s: %v", scenario.Name, i+1, s.Do, err)
				break
			}
		}
		r.close()
		if err := r.shell("control restore"); err != nil {
			failed = true
			verdict += ": control restore: " + err.Error()
		}
		fmt.Println(verdict)
	}
	if failed {
		os.Exit(1)
	}
}
