// Greets people: {"name":"Ada"} gives {"payload":"Hello Ada!"}. With a url, the result has the status that it responds
// with.
package main

import (
	"errors"
	"fmt"
	"log"
)

type Arguments struct {
	Name string `json:"name"`
	URL  string `json:"url"`
}

type Greeting struct {
	Payload string `json:"payload"`
	Status  int    `json:"status,omitempty"`
}

func hello(arguments Arguments) (*Greeting, error) {
	if arguments.Name == "" {
		return nil, errors.New(`"name" is missing`)
	}
	log.Printf("greeting %s", arguments.Name)
	greeting := &Greeting{Payload: fmt.Sprintf("Hello %s!", arguments.Name)}
	if arguments.URL != "" {
		response, err := Request("GET", arguments.URL, nil, nil)
		if err != nil {
			return nil, err
		}
		greeting.Status = response.Status
	}
	return greeting, nil
}

//go:wasmexport __invoke
func invoke(length int32) int32 {
	return Run(length, hello)
}

func main() {}
